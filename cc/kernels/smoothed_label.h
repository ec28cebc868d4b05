#ifndef TF_LS_CC_KERNELS_SMOOTHED_LABEL_H_
#define TF_LS_CC_KERNELS_SMOOTHED_LABEL_H_

#include <cmath>
#include <cstdint>

namespace tf_ls {

// The distribution that a label stands for.
struct SmoothedLabel {
  SmoothedLabel(float smoothing, int64_t vocab_size)
      : confidence(1.0 - smoothing),
        other(smoothing > 0.0f ? smoothing / static_cast<double>(vocab_size - 1) : 0.0),
        // With NeurST's guard against log(0).
        entropy(-confidence * std::log(confidence) - smoothing * std::log(other + 1e-20)) {}

  double confidence;  // of the label
  double other;       // of each other word
  double entropy;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_SMOOTHED_LABEL_H_
