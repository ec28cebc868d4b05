#ifndef TF_LS_CC_OPS_TOKEN_TYPES_H_
#define TF_LS_CC_OPS_TOKEN_TYPES_H_

#include <cstdint>
#include <vector>

#include "cc/kernels/token_rows.h"
#include "cc/ops/checks.h"

// Types of tokens, BERT's segments. The table of positions is a table for each of the attribute
// "token_types", one behind the other: position p of type t has row t * positions + p. The input
// list "types" (K * int64) says of which type each token is; if it is empty, all are of type 0.
namespace tf_ls {

// Of a shape function's context, or of a kernel's construction; "P" are its tables of positions.
template <typename Context>
Status ReadTokenTypes(Context* context, int* token_types) {
  int tables;
  TF_LS_RETURN_IF_ERROR(context->GetAttr("token_types", token_types));
  TF_LS_RETURN_IF_ERROR(context->GetAttr("P", &tables));
  if (*token_types == 1 || tables > 0) return Status();
  return tensorflow::errors::InvalidArgument("positions must be a table with rows for each of ",
                                             *token_types, " token types, got no table");
}

// How many positions each type has in a table of so many rows.
Status CountPositions(int64_t rows, int token_types, int64_t* positions);

// The shape function's part of the same, of the table that is input `place`.
Status CheckTypedPositions(tensorflow::shape_inference::InferenceContext* context, int place,
                           int token_types);

// And of the input list "types", which begins with input `place`, of tokens `ids`.
Status CheckTypeShapes(tensorflow::shape_inference::InferenceContext* context, int place,
                       tensorflow::shape_inference::ShapeHandle ids);

// Moves positions of rows, as ReadTokens fills them, to those of their tokens' types, as the input
// list "types" has them.
Status AddTokenTypes(tensorflow::OpKernelContext* context, const tensorflow::TensorShape& ids,
                     const TokenSource& source, int token_types, int64_t positions_of_type,
                     std::vector<int32_t>* positions);

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_TOKEN_TYPES_H_
