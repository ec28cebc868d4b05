#include "cc/ops/projection_inputs.h"

namespace tf_ls {

using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status CheckProjectionShapes(InferenceContext* c, int x_input, int weights_input) {
  ShapeHandle x, indices, weights;
  DimensionHandle ignored;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(x_input), 2, &x));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(x_input + 1), 1, &indices));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(weights_input), 2, &weights));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(x, 0), c->Dim(indices, 0), &ignored));
  return c->Merge(c->Dim(x, 1), c->Dim(weights, 1), &ignored);
}

Status ReadProjection(const Tensor& x, const Tensor& indices, const Tensor& weights,
                      int64_t positions, OutputProjectionShape* shape) {
  TF_LS_RETURN_IF_ERROR(CheckRank(x, 2, "x"));
  TF_LS_RETURN_IF_ERROR(CheckRank(weights, 2, "weights"));
  TF_LS_RETURN_IF_ERROR(CheckShape(indices, {x.dim_size(0)}, "indices"));
  TF_LS_RETURN_IF_ERROR(CheckShape(weights, {weights.dim_size(0), x.dim_size(1)}, "weights"));
  *shape = {x.dim_size(0), x.dim_size(1), weights.dim_size(0), positions,
            indices.flat<int32_t>().data()};
  for (int64_t i = 0; i < shape->rows; ++i) {
    if (shape->indices[i] < -1 || shape->indices[i] >= positions) {
      return InvalidArgument("index ", i, " must be from -1 to ", positions - 1, ", got ",
                             shape->indices[i]);
    }
  }
  return Status();
}

}  // namespace tf_ls
