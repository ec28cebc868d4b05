#include "cc/kernels/gpu_primitives.cu.h"
#include "cc/kernels/scale.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 256;

// A factor of the host, or one in the GPU's memory.
struct Factor {
  __device__ float operator()() const { return pointer == nullptr ? value : *pointer; }

  float value;
  const float* pointer;
};

template <int pack, typename T>
__global__ void __launch_bounds__(kThreads)
    ScalePacks(const float* x, int64_t packs, const Factor factor, T* y) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= packs) return;
  const float scale = factor();
  float values[pack];
  gpu::LoadPack<pack>(x + i * pack, values);
#pragma unroll
  for (int j = 0; j < pack; ++j) values[j] *= scale;
  gpu::StorePack<pack>(values, y + i * pack);
}

template <int pack, typename T>
void Launch(const Gpu& gpu, const float* x, int64_t count, const Factor& factor, T* y) {
  const int64_t packs = count / pack;
  ScalePacks<pack><<<gpu::Blocks(packs, kThreads), kThreads, 0, gpu.stream>>>(x, packs, factor, y);
  gpu::CheckLaunch();
}

// Reads 4 and writes sizeof(T) bytes a number.
template <typename T>
void Run(const Gpu& gpu, const float* x, int64_t count, const Factor& factor, T* y) {
  constexpr int kPack = 4;
  if (count == 0) return;
  gpu::CanPack<T, kPack>(count, x, y) ? Launch<kPack>(gpu, x, count, factor, y)
                                      : Launch<1>(gpu, x, count, factor, y);
}

}  // namespace

template <typename T>
void Scale(const Gpu& gpu, const float* x, int64_t count, float factor, T* y) {
  Run(gpu, x, count, {factor, nullptr}, y);
}

template <typename T>
void Scale(const Gpu& gpu, const float* x, int64_t count, const float* factor, T* y) {
  Run(gpu, x, count, {1.0f, factor}, y);
}

template void Scale(const Gpu&, const float*, int64_t, float, float*);
template void Scale(const Gpu&, const float*, int64_t, float, float16*);
template void Scale(const Gpu&, const float*, int64_t, float, bfloat16*);
template void Scale(const Gpu&, const float*, int64_t, const float*, float*);
template void Scale(const Gpu&, const float*, int64_t, const float*, float16*);
template void Scale(const Gpu&, const float*, int64_t, const float*, bfloat16*);

}  // namespace tf_ls
