#ifndef TF_LS_CC_LAYERS_DENSE_H_
#define TF_LS_CC_LAYERS_DENSE_H_

#include <cstdint>

#include "cc/kernels/column_sum.h"
#include "cc/kernels/matmul.h"
#include "cc/layers/weights.h"

namespace tf_ls {

// y[rows, outputs] = x[rows, inputs] * kernel + bias.
template <typename Device, typename T>
void Dense(const Device& device, DenseWeights<const float*> weights, int64_t inputs,
           int64_t outputs, const T* x, int64_t rows, T* y) {
  MatMul(device, x, rows, Weight{weights.kernel, inputs, outputs}, weights.bias,
         /*accumulate=*/false, y);
}

// The same, added to y.
template <typename Device, typename T>
void AddDense(const Device& device, DenseWeights<const float*> weights, int64_t inputs,
              int64_t outputs, const T* x, int64_t rows, T* y) {
  MatMul(device, x, rows, Weight{weights.kernel, inputs, outputs}, weights.bias,
         /*accumulate=*/true, y);
}

// The gradient of Dense's input.
template <typename Device, typename T>
void DenseInputGradient(const Device& device, DenseWeights<const float*> weights, int64_t inputs,
                        int64_t outputs, const T* dy, int64_t rows, T* dx) {
  MatMul(device, dy, rows, Weight{weights.kernel, inputs, outputs}.Transposed(), nullptr,
         /*accumulate=*/false, dx);
}

// The gradients of Dense's input and kernel, where that of the bias is made with dy.
template <typename Device, typename T>
void DenseProductGradient(const Device& device, DenseWeights<const float*> weights, int64_t inputs,
                          int64_t outputs, const T* x, const T* dy, int64_t rows, T* dx,
                          DenseWeights<float*> dweights) {
  MatMulWeightGradient(device, x, dy, rows, inputs, outputs, dweights.kernel);
  DenseInputGradient(device, weights, inputs, outputs, dy, rows, dx);
}

// The gradients of Dense: of its weights and of x; that of the bias when `sums` are finished.
template <typename Device, typename T>
void DenseGradient(const Device& device, DenseWeights<const float*> weights, int64_t inputs,
                   int64_t outputs, const T* x, const T* dy, int64_t rows, T* dx,
                   DenseWeights<float*> dweights, ColumnSums<Device>* sums) {
  ColumnSum(device, dy, rows, outputs, dweights.bias, sums);
  DenseProductGradient(device, weights, inputs, outputs, x, dy, rows, dx, dweights);
}

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_DENSE_H_
