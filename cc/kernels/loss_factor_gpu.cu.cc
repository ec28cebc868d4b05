#include "cc/kernels/gpu_counting_rows.cu.h"
#include "cc/kernels/gpu_primitives.cu.h"
#include "cc/kernels/loss_factor.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 1024;

__global__ void __launch_bounds__(kThreads)
    FindFactor(const OutputProjectionShape shape, const float* weights, const float* dlosses,
               const float* dnlls, LossFactor* factor) {
  float least = INFINITY;
  float most = -INFINITY;
  float odd = 0.0f;  // 1 if there is a number that cannot be or stand beside the factor
  gpu::ForEachCountingRow(shape, weights, [&](int64_t position, float /*weight*/) {
    const float dloss = dlosses[position];
    least = fminf(least, dloss);
    most = fmaxf(most, dloss);
    if (!isfinite(dloss) || dnlls[position] != 0.0f) odd = 1.0f;
  });
  least = -gpu::GroupMax<kThreads>(-least);
  most = gpu::GroupMax<kThreads>(most);
  odd = gpu::GroupMax<kThreads>(odd);
  if (threadIdx.x != 0) return;
  const bool counts = odd != 0.0f || least <= most;
  factor->exists = odd == 0.0f && (!counts || least == most);
  factor->value = counts ? least : 0.0f;
}

}  // namespace

void FindLossFactor(const Gpu& gpu, const OutputProjectionShape& shape,
                    const CrossEntropyTargets& targets, const float* dlosses, const float* dnlls,
                    LossFactor* factor) {
  FindFactor<<<1, kThreads, 0, gpu.stream>>>(shape, targets.weights, dlosses, dnlls, factor);
  gpu::CheckLaunch();
}

}  // namespace tf_ls
