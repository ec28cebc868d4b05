#ifndef TF_LS_CC_KERNELS_MATMUL_H_
#define TF_LS_CC_KERNELS_MATMUL_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// A weight matrix that maps `inputs` numbers to `outputs` numbers. Stored [inputs, outputs], or,
// when transposed, [outputs, inputs]: the backward pass and tied embeddings read the same memory
// the other way round.
struct Weight {
  const float* data;
  int64_t inputs;
  int64_t outputs;
  bool transposed = false;

  Weight Transposed() const { return {data, outputs, inputs, !transposed}; }
};

// y[rows, outputs] = x[rows, inputs] * weight (+ bias[outputs]) (+ y, when accumulating).
//
// Cost: 2 * rows * inputs * outputs flops; reads x and the weight once a block of rows, writes y
// once. oneDNN does the product: weights are cast to T and laid out for it once a call, unless
// cpu.packed_weights has them, rows are shared out in blocks over the threads. Where the processor
// has no bfloat16 arithmetic, the product is computed in float32.
void MatMul(const Cpu& cpu, const float* x, int64_t rows, const Weight& weight, const float* bias,
            bool accumulate, float* y);
void MatMul(const Cpu& cpu, const bfloat16* x, int64_t rows, const Weight& weight,
            const float* bias, bool accumulate, bfloat16* y);
// cuBLASLt does the product, with the bias in its epilogue. Weights are cast to T before, unless
// gpu.weight_casts has them.
template <typename T>
void MatMul(const Gpu& gpu, const T* x, int64_t rows, const Weight& weight, const float* bias,
            bool accumulate, T* y);

// dw[inputs, outputs] = x[rows, inputs]^T * dy[rows, outputs], in float32 whatever T is.
//
// Cost: 2 * rows * inputs * outputs flops; reads x and dy once a block of dw, writes dw once a
// block of rows.
void MatMulWeightGradient(const Cpu& cpu, const float* x, const float* dy, int64_t rows,
                          int64_t inputs, int64_t outputs, float* dw);
void MatMulWeightGradient(const Cpu& cpu, const bfloat16* x, const bfloat16* dy, int64_t rows,
                          int64_t inputs, int64_t outputs, float* dw);
template <typename T>
void MatMulWeightGradient(const Gpu& gpu, const T* x, const T* dy, int64_t rows, int64_t inputs,
                          int64_t outputs, float* dw);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_MATMUL_H_
