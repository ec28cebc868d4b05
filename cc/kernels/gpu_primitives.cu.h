#ifndef TF_LS_CC_KERNELS_GPU_PRIMITIVES_CU_H_
#define TF_LS_CC_KERNELS_GPU_PRIMITIVES_CU_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"

// What CUDA kernels have in common: conversions, accesses of several numbers at once, sums over
// threads. Arithmetic is float32 whatever the type in memory.
namespace tf_ls {
namespace gpu {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Throws what CUDA complains about; call it behind every launch.
inline void Check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}
inline void CheckLaunch() { Check(cudaGetLastError()); }

inline unsigned Blocks(int64_t work, int64_t per_block) {
  return static_cast<unsigned>((work + per_block - 1) / per_block);
}

__device__ inline float Widen(float x) { return x; }
__device__ inline float Widen(int8_t x) { return static_cast<float>(x); }
__device__ inline float Widen(float16 x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ inline float Widen(bfloat16 x) {
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}

// The special function unit's power of two, exact to 2 units in the last place; what is too small
// for a normal float32 becomes zero. expf takes four times the instructions.
__device__ inline float PowerOfTwo(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
constexpr float kLog2E = 1.4426950409f;

template <typename T>
__device__ T Narrow(float x);
template <>
__device__ inline float Narrow<float>(float x) {
  return x;
}
template <>
__device__ inline float16 Narrow<float16>(float x) {
  return {__half_as_ushort(__float2half_rn(x))};
}
template <>
__device__ inline bfloat16 Narrow<bfloat16>(float x) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}

// Two numbers as they lie in memory.
template <typename T>
__device__ uint32_t NarrowPair(float low, float high);
template <>
__device__ inline uint32_t NarrowPair<float16>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
template <>
__device__ inline uint32_t NarrowPair<bfloat16>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// `count` numbers that are read or written at once.
template <typename T, int count>
struct alignas(count * sizeof(T)) Pack {
  T values[count];
};

// Whether rows of n numbers that begin at these addresses can be accessed in packs.
template <typename T, int count, typename... Pointers>
bool CanPack(int64_t n, const Pointers*... pointers) {
  const auto aligned = [](const void* p, size_t size) {
    return reinterpret_cast<uintptr_t>(p) % (count * size) == 0;
  };
  return n % count == 0 && (aligned(pointers, sizeof(*pointers)) && ...);
}

template <int count, typename T>
__device__ void LoadPack(const T* from, float* to) {
  const auto pack = *reinterpret_cast<const Pack<T, count>*>(from);
#pragma unroll
  for (int i = 0; i < count; ++i) to[i] = Widen(pack.values[i]);
}
template <int count, typename T>
__device__ void StorePack(const float* from, T* to) {
  Pack<T, count> pack;
#pragma unroll
  for (int i = 0; i < count; ++i) pack.values[i] = Narrow<T>(from[i]);
  *reinterpret_cast<Pack<T, count>*>(to) = pack;
}

// All values of a group of `threads` neighbouring threads of a block, a warp or the whole block,
// combined by a function of two, always in the same order. Every thread gets the result.
template <int threads, typename Combine>
__device__ float GroupReduce(float x, const Combine& combine) {
  static_assert(threads % kWarp == 0 && threads <= 1024, "whole warps of one block");
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = combine(x, __shfl_xor_sync(kAllLanes, x, offset));
  }
  if constexpr (threads > kWarp) {
    __shared__ float values[threads / kWarp];
    __syncthreads();  // somebody may still read the values before
    if (threadIdx.x % kWarp == 0) values[threadIdx.x / kWarp] = x;
    __syncthreads();
    x = values[0];
#pragma unroll
    for (int i = 1; i < threads / kWarp; ++i) x = combine(x, values[i]);
  }
  return x;
}
template <int threads>
__device__ float GroupSum(float x) {
  return GroupReduce<threads>(x, [](float a, float b) { return a + b; });
}
__device__ inline float WarpSum(float x) { return GroupSum<kWarp>(x); }
// NaN does not count.
template <int threads>
__device__ float GroupMax(float x) {
  return GroupReduce<threads>(x, [](float a, float b) { return fmaxf(a, b); });
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_PRIMITIVES_CU_H_
