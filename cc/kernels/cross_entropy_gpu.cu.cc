#include <type_traits>

#include "cc/kernels/cross_entropy.h"
#include "cc/kernels/gpu_logit_row.cu.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 256;
// Rows up to this length are a warp's, longer ones a block's.
constexpr int64_t kLongestRowOfWarp = 1024;

template <int threads>
__device__ int64_t RowOfGroup() {
  return blockIdx.x * int64_t{kThreads / threads} + threadIdx.x / threads;
}

template <int threads, typename T>
__global__ void __launch_bounds__(kThreads)
    Forward(const CrossEntropyTargets targets, const SmoothedLabel target, const T* logits,
            float* losses, float* nlls, float* statistics) {
  const int64_t i = RowOfGroup<threads>();
  if (i >= targets.rows) return;
  const float weight = targets.weights[i];
  const bool writes = threadIdx.x % threads == 0;
  if (weight == 0.0f) {
    if (writes) losses[i] = nlls[i] = statistics[2 * i] = statistics[2 * i + 1] = 0.0f;
    return;
  }
  const T* const row = logits + i * targets.vocab_size;
  gpu::LogitSums sums(gpu::Widen(row[targets.labels[i]]));
  gpu::ReadRow<threads>(row, static_cast<int>(targets.vocab_size), &sums);
  sums.SumOverGroup<threads>();
  if (!writes) return;
  losses[i] = static_cast<float>(weight * sums.Loss(target));
  nlls[i] = static_cast<float>(weight * sums.NegativeLogLikelihood());
  statistics[2 * i] = sums.top();
  statistics[2 * i + 1] = sums.exp_sum();
}

template <int threads, typename T>
__global__ void __launch_bounds__(kThreads)
    Backward(const CrossEntropyTargets targets, const SmoothedLabel target, const T* logits,
             const float* statistics, const float* dlosses, const float* dnlls, T* dlogits) {
  const int64_t i = RowOfGroup<threads>();
  if (i >= targets.rows) return;
  const int n = static_cast<int>(targets.vocab_size);
  const float weight = targets.weights[i];
  T* const gradient = dlogits + i * targets.vocab_size;
  if (weight == 0.0f) return gpu::ClearRow<threads>(gradient, n);
  const gpu::LogitGradient body(target, targets.labels[i], statistics[2 * i], statistics[2 * i + 1],
                                weight * dlosses[i], weight * dnlls[i]);
  gpu::MapRow<threads>(logits + i * targets.vocab_size, n, body, gradient);
}

// Calls function(threads of a row, as a type; blocks).
template <typename Function>
void ForGroups(const CrossEntropyTargets& targets, const Function& function) {
  gpu::CheckVocabulary(targets.vocab_size);
  if (targets.rows == 0) return;
  if (targets.vocab_size <= kLongestRowOfWarp) {
    constexpr int64_t kRows = kThreads / gpu::kWarp;
    function(std::integral_constant<int, gpu::kWarp>(), gpu::Blocks(targets.rows, kRows));
  } else {
    function(std::integral_constant<int, kThreads>(), gpu::Blocks(targets.rows, 1));
  }
  gpu::CheckLaunch();
}

}  // namespace

// Reads rows * V * sizeof(T) bytes, of rows that count.
template <typename T>
void CrossEntropy(const Gpu& gpu, const CrossEntropyTargets& targets, const T* logits,
                  float* losses, float* nlls, float* statistics) {
  const SmoothedLabel target(targets.smoothing, targets.vocab_size);
  ForGroups(targets, [&](auto threads, unsigned blocks) {
    Forward<threads(), T>
        <<<blocks, kThreads, 0, gpu.stream>>>(targets, target, logits, losses, nlls, statistics);
  });
}

// Reads and writes rows * V * sizeof(T) bytes each.
template <typename T>
void CrossEntropyGradient(const Gpu& gpu, const CrossEntropyTargets& targets, const T* logits,
                          const float* statistics, const float* dlosses, const float* dnlls,
                          T* dlogits) {
  const SmoothedLabel target(targets.smoothing, targets.vocab_size);
  ForGroups(targets, [&](auto threads, unsigned blocks) {
    Backward<threads(), T><<<blocks, kThreads, 0, gpu.stream>>>(targets, target, logits, statistics,
                                                                dlosses, dnlls, dlogits);
  });
}

template void CrossEntropy(const Gpu&, const CrossEntropyTargets&, const float*, float*, float*,
                           float*);
template void CrossEntropy(const Gpu&, const CrossEntropyTargets&, const float16*, float*, float*,
                           float*);
template void CrossEntropy(const Gpu&, const CrossEntropyTargets&, const bfloat16*, float*, float*,
                           float*);
template void CrossEntropyGradient(const Gpu&, const CrossEntropyTargets&, const float*,
                                   const float*, const float*, const float*, float*);
template void CrossEntropyGradient(const Gpu&, const CrossEntropyTargets&, const float16*,
                                   const float*, const float*, const float*, float16*);
template void CrossEntropyGradient(const Gpu&, const CrossEntropyTargets&, const bfloat16*,
                                   const float*, const float*, const float*, bfloat16*);

}  // namespace tf_ls
