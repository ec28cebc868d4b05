#ifndef TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_
#define TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_

#include <cstdint>

#include "cc/kernels/gpu_primitives.cu.h"

namespace tf_ls {
namespace gpu {

constexpr int kSumColumns = 32;
constexpr int kSumRows = 32;

// y[part, column] = sum over the rows of each part of x. A block sums 32 columns of one part.
template <typename T>
__global__ void SumParts(const T* x, int64_t rows, int64_t stride, int64_t n, int64_t part_rows,
                         float* y) {
  __shared__ float sums[kSumRows][kSumColumns + 1];
  const int64_t column = blockIdx.x * int64_t{kSumColumns} + threadIdx.x;
  const int64_t first = blockIdx.y * part_rows;
  const int64_t last = min(rows, first + part_rows);
  float sum = 0.0f;
  if (column < n) {
    for (int64_t i = first + threadIdx.y; i < last; i += kSumRows)
      sum += Widen(x[i * stride + column]);
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  // A warp sums one column, in the same order every time.
  sum = WarpSum(sums[threadIdx.x][threadIdx.y]);
  const int64_t mine = blockIdx.x * int64_t{kSumColumns} + threadIdx.y;
  if (threadIdx.x == 0 && mine < n) y[blockIdx.y * n + mine] = sum;
}

// y[part, column] for parts of `part_rows` rows of x, whose rows lie `stride` numbers apart.
template <typename T>
void LaunchSumParts(CUstream_st* stream, const T* x, int64_t rows, int64_t stride, int64_t n,
                    int64_t part_rows, int64_t parts, float* y) {
  if (n == 0) return;
  const dim3 grid(Blocks(n, kSumColumns), static_cast<unsigned>(parts));
  SumParts<T><<<grid, dim3(kSumColumns, kSumRows), 0, stream>>>(x, rows, stride, n, part_rows, y);
  CheckLaunch();
}

// y[n] = sum of the rows of x. For few rows: one block adds all of them.
template <typename T>
void SumRows(CUstream_st* stream, const T* x, int64_t rows, int64_t stride, int64_t n, float* y) {
  LaunchSumParts(stream, x, rows, stride, n, rows, 1, y);
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_
