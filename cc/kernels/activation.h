#ifndef TF_LS_CC_KERNELS_ACTIVATION_H_
#define TF_LS_CC_KERNELS_ACTIVATION_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/core/philox.h"
#include "cc/kernels/activation_kind.h"

namespace tf_ls {

// y = dropout(activation(x)) on rows of n numbers. Cost: reads x, writes y.
template <typename T>
void ActivationDropout(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                       int64_t rows, int64_t n, T* y);
template <typename T>
void ActivationDropout(const Gpu& gpu, Activation kind, const Dropout& dropout, const T* x,
                       int64_t rows, int64_t n, T* y);

// dx = dropout(dy) * activation'(x); in place over dy if wanted. Cost: reads x and dy, writes dx.
template <typename T>
void ActivationDropoutGradient(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                               const T* dy, int64_t rows, int64_t n, T* dx);
template <typename T>
void ActivationDropoutGradient(const Gpu& gpu, Activation kind, const Dropout& dropout, const T* x,
                               const T* dy, int64_t rows, int64_t n, T* dx);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ACTIVATION_H_
