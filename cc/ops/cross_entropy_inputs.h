#ifndef TF_LS_CC_OPS_CROSS_ENTROPY_INPUTS_H_
#define TF_LS_CC_OPS_CROSS_ENTROPY_INPUTS_H_

#include <vector>

#include "cc/kernels/cross_entropy.h"
#include "cc/ops/checks.h"
#include "cc/ops/device_kernel.h"

// What operations of cross entropy are given beside logits, or what makes these: labels and their
// weights.
namespace tf_ls {

Status ReadLabelSmoothing(tensorflow::OpKernelConstruction* construction, float* smoothing);

// An operation with the attribute label_smoothing.
template <typename Device>
class LabelSmoothingKernel : public DeviceKernel<Device> {
 public:
  explicit LabelSmoothingKernel(tensorflow::OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLabelSmoothing(construction, &label_smoothing_));
  }

 protected:
  float label_smoothing() const { return label_smoothing_; }

 private:
  float label_smoothing_;
};

// Labels, int32 or int64, and weights, float, of one shape. An id must be one of the vocabulary's
// where its weight is not zero.
class LabelInputs {
 public:
  Status Read(const tensorflow::Tensor& labels, const tensorflow::Tensor& weights,
              int64_t vocab_size, float smoothing);

  // With labels and weights on the host.
  const CrossEntropyTargets& targets() const { return targets_; }

  // With labels and weights where kernels on `device` read them.
  template <typename Device>
  CrossEntropyTargets Bring(DeviceContext<Device>* device) const {
    CrossEntropyTargets targets = targets_;
    device->Bring({{&targets.labels, targets.rows}, {&targets.weights, targets.rows}});
    return targets;
  }

 private:
  std::vector<int32_t> labels_;
  CrossEntropyTargets targets_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_CROSS_ENTROPY_INPUTS_H_
