#include <cuda_runtime_api.h>

#include <stdexcept>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"
#include "cc/kernels/cast_weights.h"
#include "cc/kernels/cublaslt_product.h"
#include "cc/kernels/matmul.h"

namespace tf_ls {
namespace {

using cublaslt::kDataType;

// `count` numbers of a result that sums over nothing.
template <typename T>
void Clear(const Gpu& gpu, T* y, int64_t count) {
  if (cudaMemsetAsync(y, 0, count * sizeof(T), gpu.stream) != cudaSuccess) {
    throw std::runtime_error("clearing the GPU's memory failed");
  }
}

}  // namespace

template <typename T>
void MatMul(const Gpu& gpu, const T* x, int64_t rows, const Weight& weight, const float* bias,
            bool accumulate, T* y) {
  if (rows == 0 || weight.outputs == 0) return;
  const ArenaScope scope(gpu.arena);
  cublaslt::Product product;
  product.type = product.result_type = kDataType<T>;
  product.m = weight.outputs;
  product.n = rows;
  product.k = weight.inputs;
  product.a_transposed = weight.transposed;
  product.has_bias = bias != nullptr;
  product.accumulate = accumulate;
  product.tf32 = gpu.allow_tf32 && kDataType<T> == cublaslt::kFloat32;
  cublaslt::Run(gpu, product, CastWeight<T>(gpu, weight.data, weight.inputs * weight.outputs), x,
                CastWeight<T>(gpu, bias, weight.outputs), y);
}

template <typename T>
void MatMulWeightGradient(const Gpu& gpu, const T* x, const T* dy, int64_t rows, int64_t inputs,
                          int64_t outputs, float* dw) {
  if (rows == 0) return Clear(gpu, dw, inputs * outputs);
  cublaslt::Product product;
  product.type = kDataType<T>;
  product.result_type = cublaslt::kFloat32;
  product.m = outputs;
  product.n = inputs;
  product.k = rows;
  product.b_transposed = true;
  product.tf32 = gpu.allow_tf32 && kDataType<T> == cublaslt::kFloat32;
  cublaslt::Run(gpu, product, dy, x, nullptr, dw);
}

template void MatMul(const Gpu&, const float*, int64_t, const Weight&, const float*, bool, float*);
template void MatMul(const Gpu&, const float16*, int64_t, const Weight&, const float*, bool,
                     float16*);
template void MatMul(const Gpu&, const bfloat16*, int64_t, const Weight&, const float*, bool,
                     bfloat16*);
template void MatMulWeightGradient(const Gpu&, const float*, const float*, int64_t, int64_t,
                                   int64_t, float*);
template void MatMulWeightGradient(const Gpu&, const float16*, const float16*, int64_t, int64_t,
                                   int64_t, float*);
template void MatMulWeightGradient(const Gpu&, const bfloat16*, const bfloat16*, int64_t, int64_t,
                                   int64_t, float*);

}  // namespace tf_ls
