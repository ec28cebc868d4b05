#ifndef TF_LS_CC_KERNELS_PRE_NORM_GRADIENT_H_
#define TF_LS_CC_KERNELS_PRE_NORM_GRADIENT_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/core/philox.h"
#include "cc/kernels/column_sum.h"
#include "cc/kernels/layer_norm.h"

namespace tf_ls {

// The backward pass of y = x + dropout(f(norm(x)) + bias), as far as it goes before that of f, on
// rows of n numbers: f's input again, normalized = norm(x); the gradient of its output, doutput =
// dropout(dy); the bias's gradient, dbias[n] = the sums of doutput's columns, in float32 and in an
// order that depends on rows and n only. Cost: reads x and dy, writes normalized and doutput.
template <typename T>
void PreNormGradient(const Cpu& cpu, const T* x, const float* gamma, const float* beta,
                     const Moments& moments, const Dropout& dropout, const T* dy, int64_t rows,
                     int64_t n, T* normalized, T* doutput, float* dbias, ColumnSums<Cpu>* sums);
template <typename T>
void PreNormGradient(const Gpu& gpu, const T* x, const float* gamma, const float* beta,
                     const Moments& moments, const Dropout& dropout, const T* dy, int64_t rows,
                     int64_t n, T* normalized, T* doutput, float* dbias, ColumnSums<Gpu>* sums);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_PRE_NORM_GRADIENT_H_
