#ifndef TF_LS_CC_KERNELS_DROPOUT_H_
#define TF_LS_CC_KERNELS_DROPOUT_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/core/philox.h"
#include "cc/kernels/column_sum.h"

namespace tf_ls {

// y = mask * x / (1 - rate) on rows of n numbers, in place if wanted; its own gradient. The mask
// comes from the counter, not from memory. Cost: reads x, writes y; ten rounds of Philox for four
// numbers.
template <typename T>
void ApplyDropout(const Cpu& cpu, const Dropout& dropout, const T* x, int64_t rows, int64_t n,
                  T* y);
template <typename T>
void ApplyDropout(const Gpu& gpu, const Dropout& dropout, const T* x, int64_t rows, int64_t n,
                  T* y);

// dx = ApplyDropout of dy, in place if wanted, and dbias[n], the sums of dx's columns, in float32
// and in an order that depends on rows and n only: the gradients of what is dropped and of a bias
// in it. Cost: reads dy, writes dx.
template <typename T>
void DropoutBiasGradient(const Cpu& cpu, const Dropout& dropout, const T* dy, int64_t rows,
                         int64_t n, T* dx, float* dbias, ColumnSums<Cpu>* sums);
template <typename T>
void DropoutBiasGradient(const Gpu& gpu, const Dropout& dropout, const T* dy, int64_t rows,
                         int64_t n, T* dx, float* dbias, ColumnSums<Gpu>* sums);

// y = residual + mask * x / (1 - rate); in place over either.
template <typename T>
void DropoutAdd(const Cpu& cpu, const Dropout& dropout, const T* x, const T* residual, int64_t rows,
                int64_t n, T* y);
template <typename T>
void DropoutAdd(const Gpu& gpu, const Dropout& dropout, const T* x, const T* residual, int64_t rows,
                int64_t n, T* y);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_DROPOUT_H_
