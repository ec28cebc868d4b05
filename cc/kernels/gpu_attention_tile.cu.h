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

// Where row i of a tile lies in shared memory.
struct InOrder {
  __device__ static int Place(int i) { return i; }
};
// Such that a lane that has columns 2 * t, 2 * t + 1 of two fragments of products with these rows
// has four neighbouring rows' products: those whose random numbers Philox makes at once.
struct InFours {
  __device__ static int Place(int i) { return (i & ~15) | (i & 2) << 2 | (i & 12) >> 1 | (i & 1); }
};

// Copies tiles of `rows` rows of one head into shared memory. A thread always has the same column,
// in rows that are kStep apart.
template <int rows, int threads, typename T, int width, typename Order = InOrder>
class HeadCopy {
 public:
  // Of rows from `first` on.
  __device__ HeadCopy(HeadRows<const T> from, int64_t first, int head, int size)
      : row_(threadIdx.x / kChunks),
        column_(threadIdx.x % kChunks * kChunk),
        exists_(column_ < size),
        stride_(from.stride),
        data_(HeadOfRow(from, first + row_, head, size) + column_) {}

  // Starts to copy rows [start, start + rows), with zeros for those from `end` on.
  __device__ void Start(int start, int end, const SharedMatrix<T, width>& to) const {
    const T* from = data_ + start * stride_;
    T* const mine = to.At(Order::Place(row_), column_);
#pragma unroll
    for (int i = 0; i < rows; i += kStep) {
      StartCopy(from, exists_ && start + row_ + i < end, mine + Order::Place(i) * to.kStride);
      from += kStep * stride_;
    }
  }

 private:
  static constexpr unsigned kChunks = width / kChunk;
  static constexpr int kStep = threads / kChunks;
  static_assert(rows % kStep == 0 && (kStep & (kStep - 1)) == 0, "equal shares, and their places");

  const int row_;
  const int column_;
  const bool exists_;
  const int64_t stride_;
  const T* const data_;
};

// A warp writes `count` fragments side by side, 16 rows, to shared memory and from there to rows
// [first, first + 16) of one head, as far as they exist, from number `column` of the head on. Where
// they go in shared memory is the warp's own.
template <typename T, int count, int width>
__device__ void StoreFragments(const ResultFragment (&x)[count], const float (&factors)[2],
                               const SharedMatrix<T, width>& shared, int shared_row, HeadRows<T> to,
                               int64_t first, int there, int head, int size, int column) {
  const unsigned lane = threadIdx.x % kWarp;
  __syncwarp();  // another lane may still read what lay there
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    T* const row = shared.At(shared_row + lane / 4 + half * 8, column + lane % 4 * 2);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      *reinterpret_cast<uint32_t*>(row + i * 8) = NarrowPair<T>(
          x[i].values[2 * half] * factors[half], x[i].values[2 * half + 1] * factors[half]);
    }
  }
  __syncwarp();
  constexpr unsigned kStep = kWarp / count;  // rows apart
  const int row = lane / count;
  const int number = column + lane % count * kChunk;
  T* target = HeadOfRow(to, first + row, head, size) + number;
#pragma unroll
  for (int i = 0; i < 16; i += kStep) {
    if (row + i < there && number < size) {
      *reinterpret_cast<uint4*>(target) =
          *reinterpret_cast<const uint4*>(shared.At(shared_row + row + i, number));
    }
    target += kStep * to.stride;
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
