#ifndef TF_LS_CC_KERNELS_GPU_ROW_CU_H_
#define TF_LS_CC_KERNELS_GPU_ROW_CU_H_

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cc/kernels/gpu_primitives.cu.h"

namespace tf_ls {
namespace gpu {

// How a kernel spreads rows of numbers over threads: `threads` of them, a warp or a whole block,
// hold a row in registers, `elements` each, and access memory in packs of `pack`.
template <int threads, int elements, int pack>
struct RowShape {
  static constexpr int kThreads = threads;
  static constexpr int kElements = elements;
  static constexpr int kPack = pack;
  static constexpr int kBlock = threads == kWarp ? 128 : threads;
  static constexpr int kGroups = kBlock / threads;

  static unsigned Blocks(int64_t rows) { return gpu::Blocks(rows, kGroups); }

  __device__ static int Group() { return threadIdx.x / kThreads; }
  __device__ static int Lane() { return threadIdx.x % kThreads; }
  __device__ static int64_t FirstRow() { return blockIdx.x * int64_t{kGroups} + Group(); }
  __device__ static int64_t RowsOfGrid() { return gridDim.x * int64_t{kGroups}; }
};

// A thread's share of a row. Shares behind the row's end are zero until written.
template <typename Shape>
struct Row {
  float values[Shape::kElements];

  __device__ float& operator[](int k) { return values[k]; }

  __device__ static int Column(int k) {
    return (k / Shape::kPack * Shape::kThreads + Shape::Lane()) * Shape::kPack + k % Shape::kPack;
  }

  __device__ void Fill(float value) {
    Each([&](float& mine, int) { mine = value; });
  }

  template <typename T>
  __device__ void Load(const T* from, int n) {
    Fill(0.0f);
#pragma unroll
    for (int k = 0; k < Shape::kElements; k += Shape::kPack) {
      if (Column(k) < n) LoadPack<Shape::kPack>(from + Column(k), values + k);
    }
  }

  template <typename T>
  __device__ void Store(T* to, int n) const {
#pragma unroll
    for (int k = 0; k < Shape::kElements; k += Shape::kPack) {
      if (Column(k) < n) StorePack<Shape::kPack>(values + k, to + Column(k));
    }
  }

  // Calls function(value, k) for every number of the share.
  template <typename Function>
  __device__ void Each(const Function& function) {
#pragma unroll
    for (int k = 0; k < Shape::kElements; ++k) function(values[k], k);
  }

  // The sum of function(value) over the share, as far as it lies in a row of n numbers.
  template <typename Function>
  __device__ float Sum(int n, const Function& function) const {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < Shape::kElements; ++k) {
      if (Column(k) < n) sum += function(values[k]);
    }
    return sum;
  }

  // Adds the shares of all groups of the block to those of the first.
  __device__ void SumOverGroups() {
    if constexpr (Shape::kGroups > 1) {
      __shared__ float shares[Shape::kGroups - 1][Shape::kElements][Shape::kThreads];
      __syncthreads();  // somebody may still read those of a call before
      if (Shape::Group() > 0) {
        Each([&](float& mine, int k) { shares[Shape::Group() - 1][k][Shape::Lane()] = mine; });
      }
      __syncthreads();
      if (Shape::Group() == 0) {
        Each([&](float& mine, int k) {
          for (int i = 0; i < Shape::kGroups - 1; ++i) mine += shares[i][k][Shape::Lane()];
        });
      }
    }
  }
};

constexpr int kPack = 4;
constexpr int64_t kLongestRow = 16384;

// Calls function(RowShape()) with one that fits rows of n numbers.
template <typename Function>
void ForRowShape(int64_t n, bool packed, const Function& function) {
  if (n > kLongestRow) {
    throw std::invalid_argument("on the GPU rows have at most " + std::to_string(kLongestRow) +
                                " numbers, got " + std::to_string(n));
  }
  if (!packed) {
    n <= 1024 ? function(RowShape<kWarp, 32, 1>()) : function(RowShape<512, 32, 1>());
  } else if (n <= 256) {
    function(RowShape<kWarp, 8, kPack>());
  } else if (n <= 512) {
    function(RowShape<kWarp, 16, kPack>());
  } else if (n <= 1024) {
    function(RowShape<kWarp, 32, kPack>());
  } else if (n <= 2048) {
    function(RowShape<256, 8, kPack>());
  } else if (n <= 4096) {
    function(RowShape<256, 16, kPack>());
  } else {
    function(RowShape<512, 32, kPack>());
  }
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_ROW_CU_H_
