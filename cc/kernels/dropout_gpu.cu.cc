#include "cc/kernels/dropout.h"
#include "cc/kernels/gpu_chunk_sum.cu.h"
#include "cc/kernels/gpu_dropout_mask.cu.h"

namespace tf_ls {
namespace {

using gpu::DropoutMask;

// y = mask * x, or residual + mask * x. Reads each input once and writes y once: 2 or 3 * rows * n
// * sizeof(T) bytes.
template <typename T, bool packed, bool add>
struct Drop {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ void operator()(int64_t row, int64_t column) const {
    gpu::Chunk<T, packed> chunk, base;
    chunk.Load(x + row * n, column, n);
    if constexpr (add) base.Load(residual + row * n, column, n);
    mask.Multiply<kCount>(row, /*lane=*/0, column, chunk.values);
    if constexpr (add) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) chunk.values[i] += base.values[i];
    }
    chunk.Store(y + row * n, column, n);
  }

  const DropoutMask mask;
  const T* const x;
  const T* const residual;
  const int64_t n;
  T* const y;
};

// dx = mask * dy. Reads dy, writes dx: 2 * rows * n * sizeof(T) bytes.
template <typename T, bool packed>
struct DropGradient {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ auto At(int64_t column) const {
    return [this, column](int64_t row, float* sum) {
      gpu::Chunk<T, packed> gradient;
      gradient.Load(dy + row * n, column, n);
      mask.Multiply<kCount>(row, /*lane=*/0, column, gradient.values);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[i] += gradient.values[i];
      gradient.Store(dx + row * n, column, n);
    };
  }

  const DropoutMask mask;
  const T* const dy;
  const int64_t n;
  T* const dx;
};

}  // namespace

template <typename T>
void ApplyDropout(const Gpu& gpu, const Dropout& dropout, const T* x, int64_t rows, int64_t n,
                  T* y) {
  if (!dropout.active()) {
    if (x != y && rows * n > 0) {
      gpu::Check(cudaMemcpyAsync(y, x, rows * n * sizeof(T), cudaMemcpyDeviceToDevice, gpu.stream));
    }
    return;
  }
  const auto run = [&](auto packed) {
    gpu::ForEachChunk(
        gpu.stream, rows, n,
        Drop<T, decltype(packed)::value, false>{DropoutMask(dropout), x, nullptr, n, y});
  };
  gpu::ForPacked<T>(run, n, x, y);
}

template <typename T>
void DropoutBiasGradient(const Gpu& gpu, const Dropout& dropout, const T* dy, int64_t rows,
                         int64_t n, T* dx, float* dbias, ColumnSums<Gpu>* sums) {
  const auto run = [&](auto packed) {
    gpu::SumForEachChunk(gpu, rows, n,
                         DropGradient<T, decltype(packed)::value>{DropoutMask(dropout), dy, n, dx},
                         dbias, sums);
  };
  gpu::ForPacked<T>(run, n, dy, dx);
}

template <typename T>
void DropoutAdd(const Gpu& gpu, const Dropout& dropout, const T* x, const T* residual, int64_t rows,
                int64_t n, T* y) {
  const auto run = [&](auto packed) {
    gpu::ForEachChunk(
        gpu.stream, rows, n,
        Drop<T, decltype(packed)::value, true>{DropoutMask(dropout), x, residual, n, y});
  };
  gpu::ForPacked<T>(run, n, x, residual, y);
}

template void ApplyDropout(const Gpu&, const Dropout&, const float*, int64_t, int64_t, float*);
template void ApplyDropout(const Gpu&, const Dropout&, const float16*, int64_t, int64_t, float16*);
template void ApplyDropout(const Gpu&, const Dropout&, const bfloat16*, int64_t, int64_t,
                           bfloat16*);
template void DropoutBiasGradient(const Gpu&, const Dropout&, const float*, int64_t, int64_t,
                                  float*, float*, ColumnSums<Gpu>*);
template void DropoutBiasGradient(const Gpu&, const Dropout&, const float16*, int64_t, int64_t,
                                  float16*, float*, ColumnSums<Gpu>*);
template void DropoutBiasGradient(const Gpu&, const Dropout&, const bfloat16*, int64_t, int64_t,
                                  bfloat16*, float*, ColumnSums<Gpu>*);
template void DropoutAdd(const Gpu&, const Dropout&, const float*, const float*, int64_t, int64_t,
                         float*);
template void DropoutAdd(const Gpu&, const Dropout&, const float16*, const float16*, int64_t,
                         int64_t, float16*);
template void DropoutAdd(const Gpu&, const Dropout&, const bfloat16*, const bfloat16*, int64_t,
                         int64_t, bfloat16*);

}  // namespace tf_ls
