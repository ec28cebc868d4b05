#include <cstdint>

#include "cc/kernels/column_sum.h"
#include "cc/kernels/gpu_column_sum.cu.h"

namespace tf_ls {
namespace {

int64_t Divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <int pack, typename T>
void SumInTwoStages(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y) {
  // Each of a block's warps has 8 rows or more.
  using Shape = gpu::SumShape<pack, gpu::kWarp, 8>;
  const gpu::RowParts parts = gpu::DivideRows(rows, Divide(n, Shape::kColumns), 8 * Shape::kRows);
  const ArenaScope scope(gpu.arena);
  float* const partial = gpu.arena->Allocate<float>(parts.count * n);
  gpu::LaunchSumParts<Shape>(gpu.stream, x, rows, n, parts.rows, parts.count,
                             gpu::RowOfPart{partial, n});
  gpu::SumBlocks(gpu.stream, partial, parts.count, 1, n, gpu::RowOfPart{y, n});
}

// Where blocks of 64 bytes of columns are enough to keep memory busy, one stage saves the second
// one's launch, 2 microseconds. (Measured on an H100, float16: 4096 x 512 5.1 instead of 5.8, 4096
// x 2048 7.9 instead of 9.4, but 16384 x 512 13.6 instead of 9.4.)
template <int pack, typename T>
void Sum(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y) {
  using Shape = gpu::SumShape<pack, 64 / (pack * sizeof(T)), 32>;
  constexpr int64_t kRowsOfBlock = 256;
  if (rows <= kRowsOfBlock * Divide(n, Shape::kColumns)) {
    gpu::LaunchSumParts<Shape>(gpu.stream, x, rows, n, rows, 1, gpu::RowOfPart{y, n});
  } else {
    SumInTwoStages<pack>(gpu, x, rows, n, y);
  }
}

}  // namespace

// Reads x once: rows * n * sizeof(T) bytes; two stages write and read a float32 for about 64 of its
// numbers.
template <typename T>
void ColumnSum(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y) {
  constexpr int kPack = 16 / sizeof(T);
  if (n == 0) return;
  gpu::CanPack<T, kPack>(n, x) ? Sum<kPack>(gpu, x, rows, n, y) : Sum<1>(gpu, x, rows, n, y);
}

template void ColumnSum(const Gpu&, const float*, int64_t, int64_t, float*);
template void ColumnSum(const Gpu&, const float16*, int64_t, int64_t, float*);
template void ColumnSum(const Gpu&, const bfloat16*, int64_t, int64_t, float*);

}  // namespace tf_ls
