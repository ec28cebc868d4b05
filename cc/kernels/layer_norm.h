#ifndef TF_LS_CC_KERNELS_LAYER_NORM_H_
#define TF_LS_CC_KERNELS_LAYER_NORM_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/column_sum.h"

namespace tf_ls {

// Mean and 1 / sqrt(variance + epsilon) of each row, which backward needs again.
struct Moments {
  float* mean;
  float* inverse_deviation;
};

// y = (x - mean(x)) / sqrt(variance(x) + epsilon) * gamma + beta over rows of n numbers; fills
// `moments`. Statistics are float32. Cost: reads x, writes y once (a row stays in the first-level
// cache).
template <typename T>
void LayerNorm(const Cpu& cpu, const T* x, int64_t rows, int64_t n, const float* gamma,
               const float* beta, float epsilon, T* y, const Moments& moments);
template <typename T>
void LayerNorm(const Gpu& gpu, const T* x, int64_t rows, int64_t n, const float* gamma,
               const float* beta, float epsilon, T* y, const Moments& moments);

// The same from moments that are known.
template <typename T>
void LayerNormFromMoments(const Cpu& cpu, const T* x, int64_t rows, int64_t n, const float* gamma,
                          const float* beta, const Moments& moments, T* y);
template <typename T>
void LayerNormFromMoments(const Gpu& gpu, const T* x, int64_t rows, int64_t n, const float* gamma,
                          const float* beta, const Moments& moments, T* y);

// Writes dx (plus `residual_gradient`, if not null), and dgamma, dbeta when `sums` are finished. dx
// may be dy or residual_gradient. Sums go over blocks of rows first, so that the result does not
// depend on the number of threads.
template <typename T>
void LayerNormGradient(const Cpu& cpu, const T* dy, const T* x, int64_t rows, int64_t n,
                       const float* gamma, const Moments& moments, const T* residual_gradient,
                       T* dx, float* dgamma, float* dbeta, ColumnSums<Cpu>* sums);
template <typename T>
void LayerNormGradient(const Gpu& gpu, const T* dy, const T* x, int64_t rows, int64_t n,
                       const float* gamma, const Moments& moments, const T* residual_gradient,
                       T* dx, float* dgamma, float* dbeta, ColumnSums<Gpu>* sums);

// The same with sums of its own.
template <typename T, typename Device>
void LayerNormGradient(const Device& device, const T* dy, const T* x, int64_t rows, int64_t n,
                       const float* gamma, const Moments& moments, const T* residual_gradient,
                       T* dx, float* dgamma, float* dbeta) {
  ColumnSums<Device> sums(device);
  LayerNormGradient(device, dy, x, rows, n, gamma, moments, residual_gradient, dx, dgamma, dbeta,
                    &sums);
  sums.Finish();
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_LAYER_NORM_H_
