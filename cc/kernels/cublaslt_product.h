#ifndef TF_LS_CC_KERNELS_CUBLASLT_PRODUCT_H_
#define TF_LS_CC_KERNELS_CUBLASLT_PRODUCT_H_

#include <cstdint>
#include <tuple>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"
#include "cc/core/gpu.h"
#include "cc/kernels/cublaslt_api.h"

namespace tf_ls {
namespace cublaslt {

template <typename T>
constexpr DataType kDataType = kFloat32;
template <>
inline constexpr DataType kDataType<float16> = kFloat16;
template <>
inline constexpr DataType kDataType<bfloat16> = kBfloat16;

// d[n, m] = alpha * b[n, k] * a[k, m] (+ bias[m]) (+ d): matrices as rows lie in memory, a and b
// possibly stored the other way round. float32 accumulation.
struct Product {
  DataType type;         // of a and b
  DataType result_type;  // of d and bias
  int64_t m, n, k;
  bool a_transposed = false;  // stored [m, k]
  bool b_transposed = false;  // stored [k, n]
  bool has_bias = false;
  bool accumulate = false;
  bool tf32 = false;
  int64_t b_stride = 0;  // of the rows of b as stored; 0: they lie one behind the other
  int64_t d_stride = 0;  // of the rows of d

  auto key() const {
    return std::make_tuple(type, result_type, m, n, k, a_transposed, b_transposed, has_bias,
                           accumulate, tf32, b_stride, d_stride);
  }
};

// alpha in the GPU's memory, beside what the library then wants there too.
struct AlphaOnGpu {
  float alpha;
  float zero;
  float one;
};

// Cost: 2 * m * n * k flops. What cuBLASLt's heuristics recommend is kept by shape. Without `alpha`
// it is 1. Throws std::runtime_error if the library is missing or refuses.
void Run(const Gpu& gpu, const Product& product, const void* a, const void* b, const void* bias,
         void* d, const AlphaOnGpu* alpha = nullptr);

}  // namespace cublaslt
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CUBLASLT_PRODUCT_H_
