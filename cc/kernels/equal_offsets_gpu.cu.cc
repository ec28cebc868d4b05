#include "cc/kernels/equal_offsets.h"
#include "cc/kernels/gpu_primitives.cu.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    Fill(int64_t count, int64_t length, int32_t* offsets, int32_t* lengths) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i <= count) offsets[i] = static_cast<int32_t>(i * length);
  if (i < count) lengths[i] = static_cast<int32_t>(length);
}

}  // namespace

void EqualOffsets(const Gpu& gpu, int64_t count, int64_t length, int32_t* offsets,
                  int32_t* lengths) {
  Fill<<<gpu::Blocks(count + 1, kThreads), kThreads, 0, gpu.stream>>>(count, length, offsets,
                                                                      lengths);
  gpu::CheckLaunch();
}

}  // namespace tf_ls
