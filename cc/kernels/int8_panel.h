#ifndef TF_LS_CC_KERNELS_INT8_PANEL_H_
#define TF_LS_CC_KERNELS_INT8_PANEL_H_

#include <cstdint>

#include "cc/kernels/quantize.h"

namespace tf_ls {

constexpr int64_t kInt8PanelColumns = 64;
constexpr int64_t kMostInt8PanelRows = 6;

// 64 outputs of a weight, laid out for instructions that multiply and add four neighbours of each
// (AVX-512 VNNI).
struct Int8Panel {
  const int8_t* numbers;   // [groups, 64, kInt8Group]
  const int32_t* offsets;  // [64]: kInt8Offset times the sum of each output's numbers
  int64_t groups;          // of inputs
};

// What a processor has for such products.
enum class Int8Instructions { kAny, kAvx2, kAvx512Vnni };
Int8Instructions BestInt8Instructions();

// sums[rows, 64] = (x - kInt8Offset) * panel, exactly, for 1 to kMostInt8PanelRows rows, on one
// thread; rows of x are x_stride numbers apart, and none is 0. Meanwhile the processor is asked for
// half a panel behind `ahead`, unless it is null.
//
// Cost: reads the panel once; with AVX-512 VNNI, 128 operations a cycle. With AVX2 about as many as
// in float32, without it far fewer, and the panel is read once for each row.
void Int8PanelProduct(const uint8_t* x, int64_t x_stride, int64_t rows, const Int8Panel& panel,
                      const int8_t* ahead, int32_t* sums,
                      Int8Instructions with = BestInt8Instructions());

// y[rows, columns] = sums[rows, 64] * row_scales * column_scales + bias (+ y), for up to 64
// columns; rows of y are y_stride numbers apart. bias may be null.
void ScaleInt8Sums(const int32_t* sums, int64_t rows, int64_t columns, const float* row_scales,
                   const float* column_scales, const float* bias, bool accumulate, int64_t y_stride,
                   float* y);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_INT8_PANEL_H_
