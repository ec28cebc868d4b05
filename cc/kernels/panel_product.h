#ifndef TF_LS_CC_KERNELS_PANEL_PRODUCT_H_
#define TF_LS_CC_KERNELS_PANEL_PRODUCT_H_

#include <cstdint>

#include "cc/core/bfloat16.h"

namespace tf_ls {

constexpr int64_t kPanelColumns = 64;
constexpr int64_t kMostPanelRows = 4;

// y[rows, 64] = x[rows, k] * panel, float32, for 1 to kMostPanelRows rows, on one thread; rows of x
// are x_stride numbers apart. The panel is what oneDNN lays weights out in on processors with
// AVX-512: float32 [k, 64], or bfloat16 [(k + 1) / 2, 64, 2], of which x must have an even number
// (a 0 more, if k is odd).
//
// Cost: reads the panel once, as fast as memory gives it: oneDNN's kernels take up to 1.7 times as
// long for so few rows, since they wait for it.
void PanelProduct(const float* x, int64_t x_stride, int64_t rows, int64_t k, const float* panel,
                  float* y);
void PanelProduct(const float* x, int64_t x_stride, int64_t rows, int64_t k, const bfloat16* panel,
                  float* y);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_PANEL_PRODUCT_H_
