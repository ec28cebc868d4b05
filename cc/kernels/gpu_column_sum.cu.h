#ifndef TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_
#define TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_

#include <algorithm>
#include <cstdint>

#include "cc/kernels/gpu_primitives.cu.h"

namespace tf_ls {
namespace gpu {

// How rows are divided among blocks that each sum the columns of a part.
struct RowParts {
  int64_t rows;   // of a part; the last one may have fewer
  int64_t count;  // none of no rows
};

// In as many parts as keep a large GPU busy when each takes `column_blocks` blocks, which look at
// `rows_at_once` rows at once, unless there are too few rows. The number of parts does not depend
// on the GPU, so that results do not.
inline RowParts DivideRows(int64_t rows, int64_t column_blocks, int64_t rows_at_once) {
  constexpr int64_t kEnoughBlocks = 512;
  const auto divide = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  if (rows == 0) return {rows_at_once, 0};
  const int64_t wanted = divide(kEnoughBlocks, column_blocks);
  const int64_t part_rows = divide(divide(rows, wanted), rows_at_once) * rows_at_once;
  return {part_rows, divide(rows, part_rows)};
}

// How a block sums columns of one part of the rows: `warps` warps take turns at the rows; in a warp
// `lanes` threads lie along a row, each with a pack of `pack` columns.
template <int pack, int lanes, int warps>
struct SumShape {
  static constexpr int kPack = pack;
  static constexpr int kLanes = lanes;
  static constexpr int kWarps = warps;
  static constexpr int kColumns = lanes * pack;
  static constexpr int kRows = warps * kWarp / lanes;  // at once
  static constexpr int kUnroll = lanes == kWarp ? 8 : 4;
};

// y[parts, n] = the sums over the rows of each part of x[rows, n], in a fixed order.
template <typename Shape, typename T>
__global__ void __launch_bounds__(Shape::kWarps* kWarp)
    SumParts(const T* x, int64_t rows, int64_t n, int64_t part_rows, float* y) {
  constexpr int kPack = Shape::kPack;
  __shared__ alignas(sizeof(Pack<float, kPack>)) float sums[Shape::kWarps][Shape::kColumns];
  const int64_t first_column = blockIdx.x * int64_t{Shape::kColumns};
  const int first_of_pack = threadIdx.x % Shape::kLanes * kPack;
  const int64_t column = first_column + first_of_pack;
  const int64_t first = blockIdx.y * part_rows;
  const int64_t last = min(rows, first + part_rows);
  float sum[kPack] = {};
  if (column < n) {
#pragma unroll Shape::kUnroll
    for (int64_t i = first + (threadIdx.y * kWarp + threadIdx.x) / Shape::kLanes; i < last;
         i += Shape::kRows) {
      float row[kPack];
      LoadPack<kPack>(x + i * n + column, row);
#pragma unroll
      for (int j = 0; j < kPack; ++j) sum[j] += row[j];
    }
  }
#pragma unroll
  for (int offset = Shape::kLanes; offset < kWarp; offset *= 2) {
#pragma unroll
    for (int j = 0; j < kPack; ++j) sum[j] += __shfl_xor_sync(kAllLanes, sum[j], offset);
  }
  if (threadIdx.x < Shape::kLanes) StorePack<kPack>(sum, &sums[threadIdx.y][first_of_pack]);
  __syncthreads();
  const int k = threadIdx.y * kWarp + threadIdx.x;
  static_assert(Shape::kColumns <= Shape::kWarps * kWarp, "a thread for every column");
  if (k >= Shape::kColumns || first_column + k >= n) return;
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < Shape::kWarps; ++i) total += sums[i][k];
  y[blockIdx.y * n + first_column + k] = total;
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_
