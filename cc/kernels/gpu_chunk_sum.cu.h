#ifndef TF_LS_CC_KERNELS_GPU_CHUNK_SUM_CU_H_
#define TF_LS_CC_KERNELS_GPU_CHUNK_SUM_CU_H_

#include <cstdint>

#include "cc/core/gpu.h"
#include "cc/kernels/column_sum.h"
#include "cc/kernels/gpu_chunk.cu.h"
#include "cc/kernels/gpu_column_sum.cu.h"

// Kernels that look at every number of a tensor by itself and sum columns on the way.
namespace tf_ls {
namespace gpu {

// How many of a part's rows a block looks at at once; a warp has each.
constexpr int kSumRows = kChunkThreads / kWarp;

// A thread keeps its chunk of columns and takes every so many-th row of the part.
template <typename Body>
__global__ void __launch_bounds__(kChunkThreads, 4)
    CallAndSumParts(int64_t rows, int64_t n, int64_t part_rows, const Body body, float* partial) {
  constexpr int kCount = Body::kCount;
  constexpr int kColumns = kWarp * kCount;
  __shared__ alignas(sizeof(Pack<float, kCount>)) float sums[kSumRows][kColumns];
  const int64_t first_column = blockIdx.x * int64_t{kColumns};
  const int64_t column = first_column + threadIdx.x * kCount;
  const int64_t first = blockIdx.y * part_rows;
  const int64_t last = min(rows, first + part_rows);
  float sum[kCount] = {};
  if (column < n) {
    const auto call = body.At(column);
    for (int64_t row = first + threadIdx.y; row < last; row += kSumRows) call(row, sum);
  }
  StorePack<kCount>(sum, &sums[threadIdx.y][threadIdx.x * kCount]);
  __syncthreads();
  const int k = threadIdx.y * kWarp + threadIdx.x;
  static_assert(kColumns <= kChunkThreads, "a thread for every column");
  if (k >= kColumns || first_column + k >= n) return;
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kSumRows; ++i) total += sums[i][k];
  partial[blockIdx.y * n + first_column + k] = total;
}

// Makes call = body.At(column) on the GPU for every Body::kCount-th column of rows of n numbers,
// and calls call(row, sum) for the rows; it adds what is to be summed to sum[0 .. Body::kCount),
// zero behind the row's end. total[n] gets the sums over all rows, in an order that depends on rows
// and n only, when `sums` are finished.
template <typename Body>
void SumForEachChunk(const Gpu& gpu, int64_t rows, int64_t n, const Body& body, float* total,
                     ColumnSums<Gpu>* sums) {
  if (n == 0) return;
  const unsigned column_blocks = Blocks(n, kWarp * Body::kCount);
  const RowParts parts = DivideRows(rows, column_blocks, kSumRows);
  float* const partial = parts.count == 1 ? total : gpu.arena->Allocate<float>(parts.count * n);
  if (parts.count > 0) {
    CallAndSumParts<<<dim3(column_blocks, static_cast<unsigned>(parts.count)),
                      dim3(kWarp, kSumRows), 0, gpu.stream>>>(rows, n, parts.rows, body, partial);
    CheckLaunch();
  }
  if (parts.count != 1) sums->Add(partial, parts.count, n, total);
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_CHUNK_SUM_CU_H_
