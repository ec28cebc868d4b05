#ifndef TF_LS_CC_TESTING_REFERENCE_CROSS_ENTROPY_H_
#define TF_LS_CC_TESTING_REFERENCE_CROSS_ENTROPY_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "cc/kernels/cross_entropy.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace test {

// The label-smoothed cross entropy of rows of logits in double precision, with the whole target
// distribution written out.
struct ReferenceCrossEntropy {
  template <typename T>
  ReferenceCrossEntropy(const CrossEntropyTargets& targets, const std::vector<T>& logits,
                        const std::vector<float>& dlosses, const std::vector<float>& dnlls)
      : losses(targets.rows, 0.0), nlls(targets.rows, 0.0), dlogits(logits.size(), 0.0) {
    const int64_t vocab = targets.vocab_size;
    for (int64_t i = 0; i < targets.rows; ++i) {
      if (targets.weights[i] == 0.0f) continue;
      double sum = 0.0;
      for (int64_t j = 0; j < vocab; ++j) sum += std::exp(Value(logits[i * vocab + j]));
      const double smoothing = targets.smoothing;
      for (int64_t j = 0; j < vocab; ++j) {
        const bool is_label = j == targets.labels[i];
        const double t = is_label ? 1.0 - smoothing : smoothing / (vocab - 1);
        const double log_softmax = Value(logits[i * vocab + j]) - std::log(sum);
        losses[i] += targets.weights[i] * t * ((t > 0.0 ? std::log(t) : 0.0) - log_softmax);
        if (is_label) nlls[i] = targets.weights[i] * -log_softmax;
        dlogits[i * vocab + j] =
            targets.weights[i] * (dlosses[i] * (std::exp(log_softmax) - t) +
                                  dnlls[i] * (std::exp(log_softmax) - (is_label ? 1.0 : 0.0)));
      }
    }
  }

  std::vector<double> losses, nlls, dlogits;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_REFERENCE_CROSS_ENTROPY_H_
