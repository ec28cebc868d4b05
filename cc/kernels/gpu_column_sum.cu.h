#ifndef TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_
#define TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_

#include <cstdint>

#include "cc/kernels/gpu_primitives.cu.h"

namespace tf_ls {
namespace gpu {

// Where the sums of a part go: rows of y, or two vectors.
struct RowOfPart {
  __device__ float* operator()(int64_t part) const { return y + part * n; }
  float* y;
  int64_t n;
};
struct VectorOfPart {
  __device__ float* operator()(int64_t part) const { return part == 0 ? first : second; }
  float* first;
  float* second;
};

// The sums over the rows of each part of x[rows, n], in a fixed order. A block sums 32 packs of
// columns of one part; its warps take turns at the rows.
template <typename T, int pack, int warps, typename Target>
__global__ void __launch_bounds__(warps* kWarp)
    SumParts(const T* x, int64_t rows, int64_t n, int64_t part_rows, const Target target) {
  constexpr int kColumns = kWarp * pack;
  __shared__ alignas(sizeof(Pack<float, pack>)) float sums[warps][kColumns];
  const int64_t first_column = blockIdx.x * int64_t{kColumns};
  const int64_t column = first_column + threadIdx.x * pack;
  const int64_t last = min(rows, (blockIdx.y + int64_t{1}) * part_rows);
  float sum[pack] = {};
  if (column < n) {
#pragma unroll 8
    for (int64_t i = blockIdx.y * part_rows + threadIdx.y; i < last; i += warps) {
      float row[pack];
      LoadPack<pack>(x + i * n + column, row);
#pragma unroll
      for (int j = 0; j < pack; ++j) sum[j] += row[j];
    }
  }
  StorePack<pack>(sum, &sums[threadIdx.y][threadIdx.x * pack]);
  __syncthreads();
  const int k = threadIdx.y * kWarp + threadIdx.x;
  static_assert(kColumns <= warps * kWarp, "a thread for every column");
  if (k >= kColumns || first_column + k >= n) return;
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < warps; ++i) total += sums[i][k];
  target(blockIdx.y)[first_column + k] = total;
}

template <int pack, int warps, typename T, typename Target>
void LaunchSumParts(CUstream_st* stream, const T* x, int64_t rows, int64_t n, int64_t part_rows,
                    int64_t parts, const Target& target) {
  if (n == 0) return;
  const dim3 grid(Blocks(n, kWarp * pack), static_cast<unsigned>(parts));
  SumParts<T, pack, warps><<<grid, dim3(kWarp, warps), 0, stream>>>(x, rows, n, part_rows, target);
  CheckLaunch();
}

// What blocks have summed: `parts` times `part_rows` rows of x, few enough for one block a column.
template <typename Target>
void SumBlocks(CUstream_st* stream, const float* x, int64_t part_rows, int64_t parts, int64_t n,
               const Target& target) {
  LaunchSumParts<1, 32>(stream, x, parts * part_rows, n, part_rows, parts, target);
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_COLUMN_SUM_CU_H_
