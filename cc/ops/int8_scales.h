#ifndef TF_LS_CC_OPS_INT8_SCALES_H_
#define TF_LS_CC_OPS_INT8_SCALES_H_

#include <cstdint>
#include <string>

#include "cc/kernels/int8_weight.h"
#include "cc/ops/checks.h"
#include "cc/ops/device_context.h"

namespace tf_ls {

// The input list "scales" of a stack: a vector for each matrix that is int8, with a scale for each
// of its outputs. Matrices come in this order: the table, those of the layers, what logits are made
// by.
class Int8Scales {
 public:
  Status Read(tensorflow::OpKernelContext* context) {
    return context->input_list("scales", &scales_);
  }

  // The numbers of a matrix [inputs, outputs], or [outputs, inputs] if it is transposed, of any
  // type; if that is int8, with the next scales, which are then *scales. `what` names it in
  // messages.
  Status NumbersOf(const tensorflow::Tensor& matrix, bool transposed, const std::string& what,
                   AnyNumbers* numbers, tensorflow::Tensor* scales) {
    using tensorflow::errors::InvalidArgument;
    if (matrix.dtype() != tensorflow::DT_INT8) {
      *numbers = tf_ls::NumbersOf(matrix);
      return Status();
    }
    if (matrix.dims() != 2) {
      return InvalidArgument(what, " is int8, which matrices alone may be, got shape ",
                             matrix.shape().DebugString());
    }
    if (matrix.dim_size(transposed ? 1 : 0) > Int8Weight::kMostInputs) {
      return InvalidArgument(what, " is int8, so it may have at most ", Int8Weight::kMostInputs,
                             " inputs, got shape ", matrix.shape().DebugString());
    }
    if (next_ == scales_.size()) {
      return InvalidArgument("scales must be a list of a vector for each int8 matrix, got ", next_,
                             ", and none for ", what);
    }
    *scales = scales_[next_++];
    TF_LS_RETURN_IF_ERROR(
        CheckShape(*scales, {matrix.dim_size(transposed ? 0 : 1)}, "scales of " + what));
    *numbers = Int8Numbers{static_cast<const int8_t*>(matrix.data()),
                           static_cast<const float*>(scales->data())};
    return Status();
  }

  Status CheckAllUsed() const {
    if (next_ == scales_.size()) return Status();
    return tensorflow::errors::InvalidArgument("scales must be a vector for each of ", next_,
                                               " int8 matrices, got ", scales_.size());
  }

 private:
  tensorflow::OpInputList scales_;
  int next_ = 0;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_INT8_SCALES_H_
