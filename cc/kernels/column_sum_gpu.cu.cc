#include <algorithm>
#include <cstdint>

#include "cc/kernels/column_sum.h"
#include "cc/kernels/gpu_column_sum.cu.h"

namespace tf_ls {
namespace {

// Sums to finish in one launch, each of which has blocks of kWarp columns.
constexpr int kMostPieces = 8;
constexpr int kFinishWarps = 32;

struct Pieces {
  const float* partial[kMostPieces];
  int64_t parts[kMostPieces];
  int64_t n[kMostPieces];
  float* total[kMostPieces];
  unsigned first_block[kMostPieces + 1];
};

__global__ void __launch_bounds__(kFinishWarps* gpu::kWarp) FinishSums(const Pieces pieces) {
  __shared__ float sums[kFinishWarps][gpu::kWarp];
  int piece = 0;
  while (blockIdx.x >= pieces.first_block[piece + 1]) ++piece;
  const int64_t n = pieces.n[piece];
  const int64_t parts = pieces.parts[piece];
  const int64_t column = (blockIdx.x - pieces.first_block[piece]) * gpu::kWarp + threadIdx.x;
  const float* const partial = pieces.partial[piece] + column;
  float sum = 0.0f;
  if (column < n) {
#pragma unroll 8
    for (int64_t i = threadIdx.y; i < parts; i += kFinishWarps) sum += partial[i * n];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= n) return;
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kFinishWarps; ++i) total += sums[i][threadIdx.x];
  pieces.total[piece][column] = total;
}

int64_t Divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename Shape, typename T>
void SumInParts(const Gpu& gpu, const T* x, int64_t rows, int64_t n, const gpu::RowParts& parts,
                float* y) {
  const dim3 grid(gpu::Blocks(n, Shape::kColumns), static_cast<unsigned>(parts.count));
  gpu::SumParts<Shape>
      <<<grid, dim3(gpu::kWarp, Shape::kWarps), 0, gpu.stream>>>(x, rows, n, parts.rows, y);
  gpu::CheckLaunch();
}

// Where blocks of 64 bytes of columns are enough to keep memory busy, one stage saves the second
// one. (Measured on an H100, float16: 4096 x 512 5.1 instead of 5.8, 4096 x 2048 7.9 instead
// of 9.4, but 16384 x 512 13.6 instead of 9.4.)
template <int pack, typename T>
void Sum(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y, ColumnSums<Gpu>* sums) {
  using Narrow = gpu::SumShape<pack, 64 / (pack * sizeof(T)), 32>;
  constexpr int64_t kRowsOfBlock = 256;
  if (rows <= kRowsOfBlock * Divide(n, Narrow::kColumns)) {
    return SumInParts<Narrow>(gpu, x, rows, n, {rows, 1}, y);
  }
  // Each of a block's warps has 8 rows or more.
  using Wide = gpu::SumShape<pack, gpu::kWarp, 8>;
  const gpu::RowParts parts = gpu::DivideRows(rows, Divide(n, Wide::kColumns), 8 * Wide::kRows);
  float* const partial = gpu.arena->Allocate<float>(parts.count * n);
  SumInParts<Wide>(gpu, x, rows, n, parts, partial);
  sums->Add(partial, parts.count, n, y);
}

}  // namespace

void ColumnSums<Gpu>::Finish() {
  for (size_t first = 0; first < pieces_.size(); first += kMostPieces) {
    Pieces pieces = {};
    const int count = static_cast<int>(std::min<size_t>(kMostPieces, pieces_.size() - first));
    for (int i = 0; i < count; ++i) {
      const Piece& piece = pieces_[first + i];
      pieces.partial[i] = piece.partial;
      pieces.parts[i] = piece.parts;
      pieces.n[i] = piece.n;
      pieces.total[i] = piece.total;
      pieces.first_block[i + 1] = pieces.first_block[i] + gpu::Blocks(piece.n, gpu::kWarp);
    }
    const unsigned blocks = pieces.first_block[count];
    if (blocks == 0) continue;
    FinishSums<<<blocks, dim3(gpu::kWarp, kFinishWarps), 0, gpu_.stream>>>(pieces);
    gpu::CheckLaunch();
  }
  pieces_.clear();
}

// Reads x once: rows * n * sizeof(T) bytes; two stages write and read a float32 for about 64 of its
// numbers.
template <typename T>
void ColumnSum(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y,
               ColumnSums<Gpu>* sums) {
  constexpr int kPack = 16 / sizeof(T);
  if (n == 0) return;
  gpu::CanPack<T, kPack>(n, x) ? Sum<kPack>(gpu, x, rows, n, y, sums)
                               : Sum<1>(gpu, x, rows, n, y, sums);
}

template void ColumnSum(const Gpu&, const float*, int64_t, int64_t, float*, ColumnSums<Gpu>*);
template void ColumnSum(const Gpu&, const float16*, int64_t, int64_t, float*, ColumnSums<Gpu>*);
template void ColumnSum(const Gpu&, const bfloat16*, int64_t, int64_t, float*, ColumnSums<Gpu>*);

}  // namespace tf_ls
