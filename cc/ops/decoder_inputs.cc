#include "cc/ops/decoder_inputs.h"

namespace tf_ls {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Of a shape function's context, or of a kernel's construction.
template <typename Context>
Status ReadBiases(Context* context, int* biases) {
  TF_LS_RETURN_IF_ERROR(context->GetAttr("O", biases));
  if (*biases <= 1) return Status();
  return tensorflow::errors::InvalidArgument("there is at most one output bias, got ", *biases);
}

}  // namespace

Status ReadDecoderAttributes(tensorflow::OpKernelConstruction* construction,
                             StackAttributes* attributes) {
  int biases;
  TF_LS_RETURN_IF_ERROR(ReadBiases(construction, &biases));
  return attributes->Read(construction);
}

Status CheckDecoderShapes(InferenceContext* c, int first, bool cross_attention,
                          DimensionHandle memory_size) {
  int biases = 0, next = first;
  ShapeHandle shape, table;
  DimensionHandle ignored;
  TF_LS_RETURN_IF_ERROR(ReadBiases(c, &biases));
  TF_LS_RETURN_IF_ERROR(CheckEndShapes(c, &next, &table));
  TF_LS_RETURN_IF_ERROR(c->Merge(table, c->input(next++), &table));
  for (int i = 0; i < biases; ++i) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(next++), 1, &shape));
    TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(table, 0), c->Dim(shape, 0), &ignored));
  }
  return CheckLayerShapes(c, next, c->Dim(table, 1), cross_attention, memory_size);
}

}  // namespace tf_ls
