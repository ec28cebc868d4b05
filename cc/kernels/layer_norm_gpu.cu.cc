#include <algorithm>

#include "cc/kernels/gpu_primitives.cu.h"
#include "cc/kernels/gpu_row.cu.h"
#include "cc/kernels/layer_norm.h"

namespace tf_ls {
namespace {

using gpu::GroupSum;
using gpu::Row;

// One row a group of threads, which keeps it in registers: memory is read once and written once.

template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kBlock)
    Forward(const T* x, int64_t rows, int n, const float* gamma, const float* beta, float epsilon,
            T* y, Moments moments) {
  const int64_t i = Shape::FirstRow();
  if (i >= rows) return;
  Row<Shape> row, scale, shift;
  row.Load(x + i * n, n);
  // Where rows are few it is time that counts, and not how many registers are left for other rows.
  constexpr bool kLoadsEarly = Shape::kElements <= 16;
  const auto load_weights = [&] {
    scale.Load(gamma, n);
    shift.Load(beta, n);
  };
  if constexpr (kLoadsEarly) load_weights();
  const auto mean_of = [&](const auto& function) {
    return GroupSum<Shape::kThreads>(row.Sum(n, function)) / n;
  };
  // As row::Moments.
  const float near = mean_of([](float value) { return value; });
  const float rest = mean_of([near](float value) { return value - near; });
  const float squares = mean_of([near](float value) { return (value - near) * (value - near); });
  const float mean = near + rest;
  const float inverse_deviation = rsqrtf(fmaxf(squares - rest * rest, 0.0f) + epsilon);
  if (Shape::Lane() == 0) {
    moments.mean[i] = mean;
    moments.inverse_deviation[i] = inverse_deviation;
  }
  if constexpr (!kLoadsEarly) load_weights();
  row.Each([&](float& value, int k) {
    value = (value - mean) * inverse_deviation * scale[k] + shift[k];
  });
  row.Store(y + i * n, n);
}

template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kBlock)
    FromMoments(const T* x, int64_t rows, int n, const float* gamma, const float* beta,
                Moments moments, T* y) {
  const int64_t i = Shape::FirstRow();
  if (i >= rows) return;
  Row<Shape> row, scale, shift;
  row.Load(x + i * n, n);
  scale.Load(gamma, n);
  shift.Load(beta, n);
  const float mean = moments.mean[i];
  const float inverse_deviation = moments.inverse_deviation[i];
  row.Each([&](float& value, int k) {
    value = (value - mean) * inverse_deviation * scale[k] + shift[k];
  });
  row.Store(y + i * n, n);
}

// Every group takes every so many-th row and sums its shares of dgamma and dbeta in registers;
// partial[2, blocks, n] is the sum over a block's groups.
template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kBlock)
    Backward(const T* dy, const T* x, int64_t rows, int n, const float* gamma, Moments moments,
             const T* residual_gradient, T* dx, float* partial) {
  Row<Shape> scale, dgamma, dbeta;
  scale.Load(gamma, n);
  dgamma.Fill(0.0f);
  dbeta.Fill(0.0f);
  for (int64_t i = Shape::FirstRow(); i < rows; i += Shape::RowsOfGrid()) {
    Row<Shape> gradient, normalized;
    gradient.Load(dy + i * n, n);
    normalized.Load(x + i * n, n);
    const float mean = moments.mean[i];
    const float inverse_deviation = moments.inverse_deviation[i];
    float sum = 0.0f;
    float product = 0.0f;
    gradient.Each([&](float& g, int k) {
      normalized[k] = (normalized[k] - mean) * inverse_deviation;
      dgamma[k] += g * normalized[k];  // zeros behind the row's end, where g is zero
      dbeta[k] += g;
      g *= scale[k];
      sum += g;
      product += g * normalized[k];
    });
    sum = GroupSum<Shape::kThreads>(sum) / n;
    product = GroupSum<Shape::kThreads>(product) / n;
    gradient.Each(
        [&](float& g, int k) { g = inverse_deviation * (g - sum - normalized[k] * product); });
    if (residual_gradient != nullptr) {
      normalized.Load(residual_gradient + i * n, n);
      gradient.Each([&](float& g, int k) { g += normalized[k]; });
    }
    gradient.Store(dx + i * n, n);
  }
  dgamma.SumOverGroups();
  dbeta.SumOverGroups();
  if (Shape::Group() == 0) {
    dgamma.Store(partial + int64_t{blockIdx.x} * n, n);
    dbeta.Store(partial + (int64_t{gridDim.x} + blockIdx.x) * n, n);
  }
}

}  // namespace

template <typename T>
void LayerNorm(const Gpu& gpu, const T* x, int64_t rows, int64_t n, const float* gamma,
               const float* beta, float epsilon, T* y, const Moments& moments) {
  gpu::ForRowShape(n, gpu::CanPack<T, gpu::kPack>(n, x, y, gamma, beta), [&](auto shape) {
    using Shape = decltype(shape);
    if (rows == 0) return;
    Forward<T, Shape><<<Shape::Blocks(rows), Shape::kBlock, 0, gpu.stream>>>(
        x, rows, n, gamma, beta, epsilon, y, moments);
  });
  gpu::CheckLaunch();
}

template <typename T>
void LayerNormFromMoments(const Gpu& gpu, const T* x, int64_t rows, int64_t n, const float* gamma,
                          const float* beta, const Moments& moments, T* y) {
  gpu::ForRowShape(n, gpu::CanPack<T, gpu::kPack>(n, x, y, gamma, beta), [&](auto shape) {
    using Shape = decltype(shape);
    if (rows == 0) return;
    FromMoments<T, Shape><<<Shape::Blocks(rows), Shape::kBlock, 0, gpu.stream>>>(x, rows, n, gamma,
                                                                                 beta, moments, y);
  });
  gpu::CheckLaunch();
}

template <typename T>
void LayerNormGradient(const Gpu& gpu, const T* dy, const T* x, int64_t rows, int64_t n,
                       const float* gamma, const Moments& moments, const T* residual_gradient,
                       T* dx, float* dgamma, float* dbeta, ColumnSums<Gpu>* sums) {
  // Enough blocks to fill any GPU of today, few enough that their sums are next to nothing. A fixed
  // number, so that results do not depend on the GPU.
  constexpr int64_t kMostBlocks = 512;
  gpu::ForRowShape(n, gpu::CanPack<T, gpu::kPack>(n, x, dy, dx, gamma, residual_gradient),
                   [&](auto shape) {
                     using Shape = decltype(shape);
                     const int64_t blocks = std::min<int64_t>(Shape::Blocks(rows), kMostBlocks);
                     float* const partial = gpu.arena->Allocate<float>(blocks * 2 * n);
                     if (blocks > 0) {
                       Backward<T, Shape><<<blocks, Shape::kBlock, 0, gpu.stream>>>(
                           dy, x, rows, n, gamma, moments, residual_gradient, dx, partial);
                     }
                     sums->Add(partial, blocks, n, dgamma);
                     sums->Add(partial + blocks * n, blocks, n, dbeta);
                   });
  gpu::CheckLaunch();
}

template void LayerNorm(const Gpu&, const float*, int64_t, int64_t, const float*, const float*,
                        float, float*, const Moments&);
template void LayerNormFromMoments(const Gpu&, const float*, int64_t, int64_t, const float*,
                                   const float*, const Moments&, float*);
template void LayerNormGradient(const Gpu&, const float*, const float*, int64_t, int64_t,
                                const float*, const Moments&, const float*, float*, float*, float*,
                                ColumnSums<Gpu>*);
template void LayerNorm(const Gpu&, const float16*, int64_t, int64_t, const float*, const float*,
                        float, float16*, const Moments&);
template void LayerNormFromMoments(const Gpu&, const float16*, int64_t, int64_t, const float*,
                                   const float*, const Moments&, float16*);
template void LayerNormGradient(const Gpu&, const float16*, const float16*, int64_t, int64_t,
                                const float*, const Moments&, const float16*, float16*, float*,
                                float*, ColumnSums<Gpu>*);
template void LayerNorm(const Gpu&, const bfloat16*, int64_t, int64_t, const float*, const float*,
                        float, bfloat16*, const Moments&);
template void LayerNormFromMoments(const Gpu&, const bfloat16*, int64_t, int64_t, const float*,
                                   const float*, const Moments&, bfloat16*);
template void LayerNormGradient(const Gpu&, const bfloat16*, const bfloat16*, int64_t, int64_t,
                                const float*, const Moments&, const bfloat16*, bfloat16*, float*,
                                float*, ColumnSums<Gpu>*);

}  // namespace tf_ls
