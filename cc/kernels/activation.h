#ifndef TF_LS_CC_KERNELS_ACTIVATION_H_
#define TF_LS_CC_KERNELS_ACTIVATION_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/core/philox.h"
#include "cc/kernels/activation_kind.h"
#include "cc/kernels/column_sum.h"

namespace tf_ls {

// y = dropout(activation(x)) on rows of n numbers, in place if wanted. Cost: reads x, writes y.
template <typename T>
void ActivationDropout(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                       int64_t rows, int64_t n, T* y);
template <typename T>
void ActivationDropout(const Gpu& gpu, Activation kind, const Dropout& dropout, const T* x,
                       int64_t rows, int64_t n, T* y);

// dx = dropout(dy) * activation'(x), in place over dy if wanted; dbias[n], the sums of dx's
// columns, in float32 and in an order that depends on rows and n only; and y once more. Cost: reads
// x and dy, writes dx and y.
template <typename T>
void ActivationDropoutGradient(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                               const T* dy, int64_t rows, int64_t n, T* y, T* dx, float* dbias,
                               ColumnSums<Cpu>* sums);
template <typename T>
void ActivationDropoutGradient(const Gpu& gpu, Activation kind, const Dropout& dropout, const T* x,
                               const T* dy, int64_t rows, int64_t n, T* y, T* dx, float* dbias,
                               ColumnSums<Gpu>* sums);

// The same for relu from y, which is above zero where x is and the mask keeps it. Cost: reads y and
// dy, writes dx.
template <typename T>
void ReluDropoutGradient(const Cpu& cpu, const Dropout& dropout, const T* y, const T* dy,
                         int64_t rows, int64_t n, T* dx, float* dbias, ColumnSums<Cpu>* sums);
template <typename T>
void ReluDropoutGradient(const Gpu& gpu, const Dropout& dropout, const T* y, const T* dy,
                         int64_t rows, int64_t n, T* dx, float* dbias, ColumnSums<Gpu>* sums);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ACTIVATION_H_
