#include "cc/kernels/cast_numbers.h"
#include "cc/kernels/gpu_primitives.cu.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 256;
constexpr int kPack = 4;

// The last pack may be a part of one; without `packed` all are taken number by number.
template <typename From, typename To>
__global__ void __launch_bounds__(kThreads)
    Cast(const From* from, int64_t count, bool packed, To* to) {
  const int64_t first = (blockIdx.x * int64_t{kThreads} + threadIdx.x) * kPack;
  if (packed && first + kPack <= count) {
    float values[kPack];
    gpu::LoadPack<kPack>(from + first, values);
    gpu::StorePack<kPack>(values, to + first);
  } else {
    for (int64_t i = first; i < min(count, first + kPack); ++i) {
      to[i] = gpu::Narrow<To>(gpu::Widen(from[i]));
    }
  }
}

}  // namespace

template <typename From, typename To>
void CastNumbers(const Gpu& gpu, const From* from, int64_t count, To* to) {
  if (count == 0) return;
  Cast<<<gpu::Blocks(count, kThreads * kPack), kThreads, 0, gpu.stream>>>(
      from, count, gpu::CanPack<From, kPack>(kPack, from, to), to);
  gpu::CheckLaunch();
}

template void CastNumbers(const Gpu&, const float*, int64_t, float16*);
template void CastNumbers(const Gpu&, const float*, int64_t, bfloat16*);
template void CastNumbers(const Gpu&, const float16*, int64_t, float*);
template void CastNumbers(const Gpu&, const bfloat16*, int64_t, float*);

}  // namespace tf_ls
