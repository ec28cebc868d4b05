#ifndef TF_LS_CC_OPS_PROJECTION_INPUTS_H_
#define TF_LS_CC_OPS_PROJECTION_INPUTS_H_

#include "cc/kernels/output_projection.h"
#include "cc/ops/checks.h"

// What operations that project packed rows onto a vocabulary are given: x [R, H], indices [R] and
// weights [V, H].
namespace tf_ls {

// The shape function's part; indices follow x.
Status CheckProjectionShapes(tensorflow::shape_inference::InferenceContext* context, int x_input,
                             int weights_input);

// Checks the tensors against each other.
Status ReadProjection(const tensorflow::Tensor& x, const tensorflow::Tensor& indices,
                      const tensorflow::Tensor& weights, int64_t positions,
                      OutputProjectionShape* shape);

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_PROJECTION_INPUTS_H_
