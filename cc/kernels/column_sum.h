#ifndef TF_LS_CC_KERNELS_COLUMN_SUM_H_
#define TF_LS_CC_KERNELS_COLUMN_SUM_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// y[n] = sum of the rows of x[rows, n], in float32: the gradient of a bias. Cost: reads x once. The
// order of the sum depends on rows and n only.
template <typename T>
void ColumnSum(const Cpu& cpu, const T* x, int64_t rows, int64_t n, float* y);
template <typename T>
void ColumnSum(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_COLUMN_SUM_H_
