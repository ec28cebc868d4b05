#include "cc/kernels/column_sum.h"
#include "cc/kernels/gpu_chunk.cu.h"
#include "cc/kernels/matmul.h"
#include "cc/kernels/output_projection.h"
#include "cc/kernels/pack.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 256;

// A block looks after one position: writes a row of the logits if nobody belongs there.
template <typename Unit>
__global__ void __launch_bounds__(kThreads)
    ClearUncovered(const uint8_t* covered, int64_t width, Unit* logits) {
  const int64_t position = blockIdx.x;
  if (covered[position] != 0) return;
  Unit* const row = logits + position * width;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) row[i] = Unit{};
}

// Writes `rows` and two times `positions` bytes, and the rows of the logits that nobody belongs to.
template <typename T>
void ClearUncovered(const Gpu& gpu, const OutputProjectionShape& shape, T* logits) {
  if (shape.positions == 0) return;
  const ArenaScope scope(gpu.arena);
  uint8_t* const ones = gpu.arena->Allocate<uint8_t>(shape.rows);
  uint8_t* const covered = gpu.arena->Allocate<uint8_t>(shape.positions);
  gpu::Check(cudaMemsetAsync(ones, 1, shape.rows, gpu.stream));
  UnpackRows(gpu, ones, shape.indices, shape.rows, 1, shape.positions, covered);
  const uint64_t row_bytes = shape.vocab_size * sizeof(T);
  gpu::ForCopyUnit({gpu::Address(logits), row_bytes}, [&](auto unit) {
    using Unit = decltype(unit);
    ClearUncovered<<<gpu::Blocks(shape.positions, 1), kThreads, 0, gpu.stream>>>(
        covered, static_cast<int64_t>(row_bytes / sizeof(Unit)), reinterpret_cast<Unit*>(logits));
    gpu::CheckLaunch();
  });
}

Weight Projection(const OutputProjectionShape& shape, const float* weights) {
  return {weights, shape.hidden_size, shape.vocab_size, /*transposed=*/true};
}

}  // namespace

// Rows are put where they belong before they are multiplied, not their logits, which are many times
// longer: padding costs flops, 2 * (positions - rows) * H * V, but logits are written once and
// nothing of their size is needed beside them.
template <typename T>
void OutputProjection(const Gpu& gpu, const OutputProjectionShape& shape, const T* x,
                      const float* weights, const float* bias, T* logits) {
  const ArenaScope scope(gpu.arena);
  T* const padded = gpu.arena->Allocate<T>(shape.positions * shape.hidden_size);
  UnpackRows(gpu, x, shape.indices, shape.rows, shape.hidden_size * sizeof(T), shape.positions,
             padded);
  MatMul(gpu, padded, shape.positions, Projection(shape, weights), bias, /*accumulate=*/false,
         logits);
  ClearUncovered(gpu, shape, logits);
}

// Packs dlogits first: reads them once and their rows twice more, or three times with a bias. So
// what stands in dlogits where no row belongs does not matter, be it NaN.
template <typename T>
void OutputProjectionGradient(const Gpu& gpu, const OutputProjectionShape& shape, const T* x,
                              const float* weights, const T* dlogits, T* dx, float* dweights,
                              float* dbias) {
  const ArenaScope scope(gpu.arena);
  T* const packed = gpu.arena->Allocate<T>(shape.rows * shape.vocab_size);
  PackRows(gpu, dlogits, shape.positions, shape.indices, shape.rows, shape.vocab_size * sizeof(T),
           packed);
  MatMul(gpu, packed, shape.rows, Projection(shape, weights).Transposed(), /*bias=*/nullptr,
         /*accumulate=*/false, dx);
  MatMulWeightGradient(gpu, packed, x, shape.rows, shape.vocab_size, shape.hidden_size, dweights);
  if (dbias == nullptr) return;
  ColumnSums<Gpu> sums(gpu);
  ColumnSum(gpu, packed, shape.rows, shape.vocab_size, dbias, &sums);
  sums.Finish();
}

template void OutputProjection(const Gpu&, const OutputProjectionShape&, const float*, const float*,
                               const float*, float*);
template void OutputProjection(const Gpu&, const OutputProjectionShape&, const float16*,
                               const float*, const float*, float16*);
template void OutputProjection(const Gpu&, const OutputProjectionShape&, const bfloat16*,
                               const float*, const float*, bfloat16*);
template void OutputProjectionGradient(const Gpu&, const OutputProjectionShape&, const float*,
                                       const float*, const float*, float*, float*, float*);
template void OutputProjectionGradient(const Gpu&, const OutputProjectionShape&, const float16*,
                                       const float*, const float16*, float16*, float*, float*);
template void OutputProjectionGradient(const Gpu&, const OutputProjectionShape&, const bfloat16*,
                                       const float*, const bfloat16*, bfloat16*, float*, float*);

}  // namespace tf_ls
