#include "cc/kernels/gpu_chunk_sum.cu.h"
#include "cc/kernels/gpu_dropout_mask.cu.h"
#include "cc/kernels/pre_norm_gradient.h"

namespace tf_ls {
namespace {

// Reads x and dy, writes normalized and doutput: 4 * rows * n * sizeof(T) bytes.
template <typename T, bool packed>
struct NormalizeAndDrop {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ auto At(int64_t column) const {
    gpu::Chunk<float, false, kCount> scale, shift;
    scale.Load(gamma, column, n);
    shift.Load(beta, column, n);
    return [this, column, scale, shift](int64_t row, float* sum) {
      gpu::Chunk<T, packed> value, gradient;
      value.Load(x + row * n, column, n);
      gradient.Load(dy + row * n, column, n);
      const float mean = moments.mean[row];
      const float inverse_deviation = moments.inverse_deviation[row];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        value.values[i] =
            (value.values[i] - mean) * inverse_deviation * scale.values[i] + shift.values[i];
      }
      value.Store(normalized + row * n, column, n);
      mask.Multiply<kCount>(row, /*lane=*/0, column, gradient.values);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[i] += gradient.values[i];
      gradient.Store(doutput + row * n, column, n);
    };
  }

  const gpu::DropoutMask mask;
  const T* const x;
  const float* const gamma;
  const float* const beta;
  const Moments moments;
  const T* const dy;
  const int64_t n;
  T* const normalized;
  T* const doutput;
};

}  // namespace

template <typename T>
void PreNormGradient(const Gpu& gpu, const T* x, const float* gamma, const float* beta,
                     const Moments& moments, const Dropout& dropout, const T* dy, int64_t rows,
                     int64_t n, T* normalized, T* doutput, float* dbias, ColumnSums<Gpu>* sums) {
  const auto run = [&](auto packed) {
    gpu::SumForEachChunk(
        gpu, rows, n,
        NormalizeAndDrop<T, decltype(packed)::value>{gpu::DropoutMask(dropout), x, gamma, beta,
                                                     moments, dy, n, normalized, doutput},
        dbias, sums);
  };
  gpu::ForPacked<T>(run, n, x, dy, normalized, doutput);
}

template void PreNormGradient(const Gpu&, const float*, const float*, const float*, const Moments&,
                              const Dropout&, const float*, int64_t, int64_t, float*, float*,
                              float*, ColumnSums<Gpu>*);
template void PreNormGradient(const Gpu&, const float16*, const float*, const float*,
                              const Moments&, const Dropout&, const float16*, int64_t, int64_t,
                              float16*, float16*, float*, ColumnSums<Gpu>*);
template void PreNormGradient(const Gpu&, const bfloat16*, const float*, const float*,
                              const Moments&, const Dropout&, const bfloat16*, int64_t, int64_t,
                              bfloat16*, bfloat16*, float*, ColumnSums<Gpu>*);

}  // namespace tf_ls
