#include <algorithm>

#include "cc/kernels/column_sum.h"
#include "cc/kernels/gpu_column_sum.cu.h"

namespace tf_ls {
namespace {

// In as many parts as keep a large GPU busy, unless there are too few rows, then over the parts.
// The number of parts does not depend on the GPU, so that results do not.
template <int pack, typename T>
void SumInParts(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y) {
  constexpr int kWarps = 8;
  constexpr int64_t kEnoughBlocks = 512;
  constexpr int64_t kFewestRows = 64;
  const auto divide = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t wanted = std::min(divide(kEnoughBlocks, divide(n, gpu::kWarp * pack)),
                                  std::max<int64_t>(1, divide(rows, kFewestRows)));
  const int64_t part_rows = std::max<int64_t>(1, divide(divide(rows, wanted), kWarps)) * kWarps;
  const int64_t parts = std::max<int64_t>(1, divide(rows, part_rows));
  if (parts == 1) {
    return gpu::LaunchSumParts<pack, kWarps>(gpu.stream, x, rows, n, rows, 1, gpu::RowOfPart{y, n});
  }
  const ArenaScope scope(gpu.arena);
  float* const partial = gpu.arena->Allocate<float>(parts * n);
  gpu::LaunchSumParts<pack, kWarps>(gpu.stream, x, rows, n, part_rows, parts,
                                    gpu::RowOfPart{partial, n});
  gpu::SumBlocks(gpu.stream, partial, parts, 1, n, gpu::RowOfPart{y, n});
}

}  // namespace

// Reads x once: rows * n * sizeof(T) bytes. Writes and reads a float32 for about 64 of its numbers.
template <typename T>
void ColumnSum(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y) {
  constexpr int kPack = 16 / sizeof(T);
  if (n == 0) return;
  gpu::CanPack<T, kPack>(n, x) ? SumInParts<kPack>(gpu, x, rows, n, y)
                               : SumInParts<1>(gpu, x, rows, n, y);
}

template void ColumnSum(const Gpu&, const float*, int64_t, int64_t, float*);
template void ColumnSum(const Gpu&, const float16*, int64_t, int64_t, float*);
template void ColumnSum(const Gpu&, const bfloat16*, int64_t, int64_t, float*);

}  // namespace tf_ls
