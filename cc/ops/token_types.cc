#include "cc/ops/token_types.h"

#include <limits>

namespace tf_ls {

using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status CountPositions(int64_t rows, int token_types, int64_t* positions) {
  *positions = rows / token_types;
  if (rows % token_types != 0) {
    return InvalidArgument("positions must have as many rows for each of ", token_types,
                           " token types, got ", rows, " rows");
  }
  if (token_types == 1 || rows <= std::numeric_limits<int32_t>::max()) return Status();
  return InvalidArgument("positions of ", token_types, " token types have ", rows,
                         " rows, more than are counted");
}

Status CheckTypedPositions(InferenceContext* context, int place, int token_types) {
  const DimensionHandle rows = context->Dim(context->input(place), 0);
  if (!context->ValueKnown(rows)) return Status();
  int64_t positions;
  return CountPositions(context->Value(rows), token_types, &positions);
}

Status CheckTypeShapes(InferenceContext* context, int place, ShapeHandle ids) {
  int count;
  TF_LS_RETURN_IF_ERROR(context->GetAttr("K", &count));
  if (count > 1) return InvalidArgument("there is at most one tensor of types, got ", count);
  if (count == 0) return Status();
  return context->Merge(ids, context->input(place), &ids);
}

Status AddTokenTypes(tensorflow::OpKernelContext* context, const tensorflow::TensorShape& ids,
                     const TokenSource& source, int token_types, int64_t positions_of_type,
                     std::vector<int32_t>* positions) {
  tensorflow::OpInputList types;
  TF_LS_RETURN_IF_ERROR(context->input_list("types", &types));
  if (types.size() == 0) return Status();
  if (types.size() > 1) {
    return InvalidArgument("there is at most one tensor of types, got ", types.size());
  }
  TF_LS_RETURN_IF_ERROR(CheckShape(types[0], ids, "types"));
  const int64_t* const type_of = types[0].flat<int64_t>().data();
  for (int64_t row = 0; row < source.rows; ++row) {
    const int64_t token = source.Token(row);
    if (token < 0) continue;
    const int64_t type = type_of[token];
    if (type < 0 || type >= token_types) {
      return InvalidArgument("types must be from 0 to ", token_types - 1, " in a model of ",
                             token_types, " token types, got ", type, " at [",
                             token / source.length, ", ", token % source.length, "]");
    }
    if (type > 0) (*positions)[row] += static_cast<int32_t>(type * positions_of_type);
  }
  return Status();
}

}  // namespace tf_ls
