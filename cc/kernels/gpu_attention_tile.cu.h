#ifndef TF_LS_CC_KERNELS_GPU_ATTENTION_TILE_CU_H_
#define TF_LS_CC_KERNELS_GPU_ATTENTION_TILE_CU_H_

#include <algorithm>
#include <cstdint>

#include "cc/kernels/gpu_attention.cu.h"
#include "cc/kernels/gpu_tensor_core.cu.h"

// How the tensor-core kernels of attention move one head's rows through shared memory, 16 bytes at
// a time. Heads narrower than a tile are filled up with zeros.
namespace tf_ls {
namespace gpu {

constexpr int kChunk = 8;  // numbers of 16 bits

// All threads of the block start to copy rows [first, first + rows) of one head, of which the first
// `there` exist, row i to row place(i) of `to`.
template <int rows, int threads, typename T, int width, typename Place>
__device__ void StartHeadCopy(HeadRows<const T> from, int64_t first, int there, int head, int size,
                              const SharedMatrix<T, width>& to, const Place& place) {
  constexpr int kChunks = width / kChunk;
#pragma unroll
  for (int i = threadIdx.x; i < rows * kChunks; i += threads) {
    const int row = i / kChunks;
    const int column = i % kChunks * kChunk;
    const bool exists = row < there && column < size;
    StartCopy(exists ? HeadOfRow(from, first + row, head, size) + column : from.data, exists,
              to.At(place(row), column));
  }
}

// A warp writes `count` fragments side by side, 16 rows, to shared memory and from there to rows
// [first, first + 16) of one head, as far as they exist, from number `column` of the head on. Where
// they go in shared memory is the warp's own.
template <typename T, int count, int width>
__device__ void StoreFragments(const ResultFragment (&x)[count], float (&factors)[2],
                               const SharedMatrix<T, width>& shared, int shared_row, HeadRows<T> to,
                               int64_t first, int there, int head, int size, int column) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      *reinterpret_cast<uint32_t*>(
          shared.At(shared_row + lane / 4 + half * 8, column + i * 8 + lane % 4 * 2)) =
          NarrowPair<T>(x[i].values[2 * half] * factors[half],
                        x[i].values[2 * half + 1] * factors[half]);
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = lane; i < 16 * count; i += kWarp) {
    const int row = i / count;
    const int number = column + i % count * kChunk;
    if (row < there && number < size) {
      *reinterpret_cast<uint4*>(HeadOfRow(to, first + row, head, size) + number) =
          *reinterpret_cast<const uint4*>(shared.At(shared_row + row, number));
    }
  }
  __syncwarp();
}

// Whether one head's rows can be accessed 16 bytes at a time.
template <typename... Rows>
bool HeadsAreAligned(int64_t head_size, const Rows&... rows) {
  const auto aligned = [](const auto& x) {
    return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % kChunk == 0;
  };
  return head_size % kChunk == 0 && (aligned(rows) && ...);
}

inline int64_t AverageLength(const Sentences& sentences) {
  return sentences.rows / std::max<int64_t>(1, sentences.count);
}

// Whether the current GPU does what gpu_tensor_core.cu.h needs.
inline bool HasTensorCores() {
  int device = 0;
  int major = 0;
  Check(cudaGetDevice(&device));
  Check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major >= 8;
}

// Lets a kernel have more shared memory than the 48 KiB that it gets unasked.
template <typename Kernel>
void AllowSharedBytes(Kernel* kernel, int bytes) {
  if (bytes <= 48 * 1024) return;
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_ATTENTION_TILE_CU_H_
