#include <algorithm>

#include "cc/kernels/cross_entropy.h"
#include "cc/kernels/cross_entropy_row.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

constexpr int64_t kForwardCycles = 2;  // a number
constexpr int64_t kBackwardCycles = 1;

}  // namespace

template <typename T>
void CrossEntropy(const Cpu& cpu, const CrossEntropyTargets& targets, const T* logits,
                  float* losses, float* nlls, float* statistics) {
  const SmoothedLabel target(targets.smoothing, targets.vocab_size);
  ForEachRow(cpu, targets.rows, targets.vocab_size, kForwardCycles, [&](int64_t i) {
    const float weight = targets.weights[i];
    RowLoss row = {};
    if (weight != 0.0f) {
      row =
          LossOfRow(logits + i * targets.vocab_size, targets.vocab_size, targets.labels[i], target);
    }
    losses[i] = static_cast<float>(weight * row.loss);
    nlls[i] = static_cast<float>(weight * row.nll);
    statistics[2 * i] = row.top;
    statistics[2 * i + 1] = row.exp_sum;
  });
}

template <typename T>
void CrossEntropyGradient(const Cpu& cpu, const CrossEntropyTargets& targets, const T* logits,
                          const float* statistics, const float* dlosses, const float* dnlls,
                          T* dlogits) {
  const SmoothedLabel target(targets.smoothing, targets.vocab_size);
  const int64_t n = targets.vocab_size;
  ForEachRow(cpu, targets.rows, n, kBackwardCycles, [&](int64_t i) {
    const float weight = targets.weights[i];
    if (weight == 0.0f) {
      std::fill(dlogits + i * n, dlogits + (i + 1) * n, T{});
    } else {
      GradientOfRow(logits + i * n, n, targets.labels[i], target, statistics[2 * i],
                    statistics[2 * i + 1], weight * dlosses[i], weight * dnlls[i], dlogits + i * n);
    }
  });
}

template void CrossEntropy(const Cpu&, const CrossEntropyTargets&, const float*, float*, float*,
                           float*);
template void CrossEntropy(const Cpu&, const CrossEntropyTargets&, const bfloat16*, float*, float*,
                           float*);
template void CrossEntropyGradient(const Cpu&, const CrossEntropyTargets&, const float*,
                                   const float*, const float*, const float*, float*);
template void CrossEntropyGradient(const Cpu&, const CrossEntropyTargets&, const bfloat16*,
                                   const float*, const float*, const float*, bfloat16*);

}  // namespace tf_ls
