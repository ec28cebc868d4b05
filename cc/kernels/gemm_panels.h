#ifndef TF_LS_CC_KERNELS_GEMM_PANELS_H_
#define TF_LS_CC_KERNELS_GEMM_PANELS_H_

#include <cstdint>

#include "cc/kernels/small_gemm.h"

// Products for processors without AVX-512. oneDNN lays out no weights there: it packs them for
// itself in each product, or reads them as they are, which takes twice as long where rows lie a
// multiple of 4096 bytes apart, since these share a few lines of the cache. Here a matrix is cut
// into panels of kGemmLanes columns once, by which SmallGemm multiplies any number of rows.
namespace tf_ls {

// Rows that some panels are best multiplied by at once: whole tiles, which stay in the caches.
constexpr int64_t kPanelRows = 96;

// How many numbers the panels of B[k, n] have.
constexpr int64_t PanelNumbers(int64_t k, int64_t n) { return k * PadToLanes(n); }

// Lays out B[k, n], one of whose strides is 1, as panels [PadToLanes(n) /
// kGemmLanes][k][kGemmLanes] with zeros behind the last column.
void PackPanels(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
                float* panels);

// C[m, n] = A[m, k] * B (+ bias[n]) (+ C), float32, on one thread; A with any strides.
//
// Cost: 2 * m * k * n flops; reads B's panels from the cache once for every six rows, so that both
// they and A should stay in the second-level cache.
void MultiplyPanels(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row_stride,
                    int64_t a_column_stride, const float* panels, const float* bias, float* c,
                    int64_t c_row_stride, bool accumulate);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GEMM_PANELS_H_
