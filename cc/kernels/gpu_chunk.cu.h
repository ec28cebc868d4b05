#ifndef TF_LS_CC_KERNELS_GPU_CHUNK_CU_H_
#define TF_LS_CC_KERNELS_GPU_CHUNK_CU_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "cc/kernels/gpu_primitives.cu.h"

// Kernels that look at every number of a tensor by itself: each thread takes a chunk of a row.
namespace tf_ls {
namespace gpu {

constexpr int kChunkThreads = 256;

// Threads lie along a row, a warp of them or as many as it has chunks; a block takes several rows.
// Blocks that run at the same time are neighbours in memory. (A thread that read two or four rows
// before it wrote the first was measured: slower on an H100, for it takes more registers.)
template <typename Body>
__global__ void __launch_bounds__(kChunkThreads)
    CallForChunks(int64_t rows, int64_t chunks, const Body body) {
  const int64_t chunk = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (chunk >= chunks) return;
  for (int64_t row = blockIdx.y * int64_t{blockDim.y} + threadIdx.y; row < rows;
       row += int64_t{gridDim.y} * blockDim.y) {
    body(row, chunk * Body::kCount);
  }
}

// Calls body(row, column) on the GPU for every Body::kCount-th column of rows of n numbers.
template <typename Body>
void ForEachChunk(CUstream_st* stream, int64_t rows, int64_t n, const Body& body) {
  if (rows == 0 || n == 0) return;
  constexpr int64_t kMostBlocks = 65535;  // in a grid's second dimension
  const int64_t chunks = (n + Body::kCount - 1) / Body::kCount;
  int64_t lanes = 1;
  while (lanes < kWarp && lanes < chunks) lanes *= 2;
  const int64_t block_rows = std::min(rows, kChunkThreads / lanes);
  const dim3 block(lanes, block_rows);
  const dim3 grid(Blocks(chunks, lanes), std::min<int64_t>(kMostBlocks, Blocks(rows, block_rows)));
  CallForChunks<<<grid, block, 0, stream>>>(rows, chunks, body);
  CheckLaunch();
}

// Neighbouring numbers of a row from a column that is a multiple of kCount: 16 bytes unless it has
// to go with chunks of another type, accessed at once if `packed`, else one by one as far as the
// row goes.
template <typename T, bool packed, int count = 16 / sizeof(T)>
struct Chunk {
  static constexpr int kCount = count;

  float values[kCount];

  __device__ void Load(const T* row, int64_t column, int64_t n) {
    if constexpr (packed) {
      LoadPack<kCount>(row + column, values);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = column + i < n ? Widen(row[column + i]) : 0.0f;
    }
  }

  __device__ void Store(T* row, int64_t column, int64_t n) const {
    if constexpr (packed) {
      StoreAtOnce(row + column);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (column + i < n) row[column + i] = Narrow<T>(values[i]);
      }
    }
  }

 private:
  // In loops over rows the compiler takes StorePack apart, down to single numbers of 16 bits.
  __device__ void StoreAtOnce(T* to) const {
    constexpr int kOfWord = sizeof(uint32_t) / sizeof(T);
    static_assert(kCount == 4 * kOfWord, "16 bytes");
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kOfWord == 1) {
        words[i] = __float_as_uint(values[i]);
      } else {
        words[i] = NarrowPair<T>(values[2 * i], values[2 * i + 1]);
      }
    }
    __stwb(reinterpret_cast<uint4*>(to), uint4{words[0], words[1], words[2], words[3]});
  }
};

// Calls function(true or false, as a type) by whether chunks of rows of n numbers, which begin at
// these addresses, can be accessed at once.
template <typename T, typename Function, typename... Pointers>
void ForPacked(const Function& function, int64_t n, const Pointers*... pointers) {
  CanPack<T, 16 / sizeof(T)>(n, pointers...) ? function(std::true_type())
                                             : function(std::false_type());
}

// Calls function(unit) with the largest type of which all these addresses and sizes in bytes are
// multiples: rows are copied in its units.
template <typename Function>
void ForCopyUnit(std::initializer_list<uint64_t> addresses_and_sizes, const Function& function) {
  uint64_t bits = 0;
  for (const uint64_t value : addresses_and_sizes) bits |= value;
  if (bits % 16 == 0) {
    function(uint4());
  } else if (bits % 4 == 0) {
    function(uint32_t());
  } else if (bits % 2 == 0) {
    function(uint16_t());
  } else {
    function(uint8_t());
  }
}
inline uint64_t Address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_CHUNK_CU_H_
