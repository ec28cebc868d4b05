#ifndef TF_LS_CC_KERNELS_CUBLASLT_PRODUCT_H_
#define TF_LS_CC_KERNELS_CUBLASLT_PRODUCT_H_

#include <cstdint>
#include <tuple>

#include "cc/core/gpu.h"
#include "cc/kernels/cublaslt_api.h"

namespace tf_ls {
namespace cublaslt {

// d[n, m] = b[n, k] * a[k, m] (+ bias[m]) (+ d): matrices as rows lie in memory, a and b possibly
// stored the other way round. float32 accumulation.
struct Product {
  DataType type;         // of a, b and bias
  DataType result_type;  // of d
  int64_t m, n, k;
  bool a_transposed = false;  // stored [m, k]
  bool b_transposed = false;  // stored [k, n]
  bool has_bias = false;
  bool accumulate = false;
  bool tf32 = false;

  auto key() const {
    return std::make_tuple(type, result_type, m, n, k, a_transposed, b_transposed, has_bias,
                           accumulate, tf32);
  }
};

// Cost: 2 * m * n * k flops. What cuBLASLt's heuristics recommend is kept by shape. Throws
// std::runtime_error if the library is missing or refuses.
void Run(const Gpu& gpu, const Product& product, const void* a, const void* b, const void* bias,
         void* d);

}  // namespace cublaslt
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CUBLASLT_PRODUCT_H_
