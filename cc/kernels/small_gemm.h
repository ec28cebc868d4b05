#ifndef TF_LS_CC_KERNELS_SMALL_GEMM_H_
#define TF_LS_CC_KERNELS_SMALL_GEMM_H_

#include <cstdint>

namespace tf_ls {

// Columns of B and C come in multiples of this: one vector of the widest processors.
constexpr int64_t kGemmLanes = 16;

constexpr int64_t PadToLanes(int64_t n) { return (n + kGemmLanes - 1) / kGemmLanes * kGemmLanes; }

// C[m, n] = A[m, k] * B[k, n] (+ C), float32, on one thread, n a multiple of kGemmLanes; A with any
// strides.
//
// For the products inside attention: one head of one sentence, whose sizes change from call to
// call, so that compiling a product for each of them (as oneDNN does) would take longer than the
// product.
void SmallGemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row_stride,
               int64_t a_column_stride, const float* b, int64_t b_row_stride, float* c,
               int64_t c_row_stride, bool accumulate);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_SMALL_GEMM_H_
