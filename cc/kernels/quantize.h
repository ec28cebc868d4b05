#ifndef TF_LS_CC_KERNELS_QUANTIZE_H_
#define TF_LS_CC_KERNELS_QUANTIZE_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/kernels/matmul.h"

// Numbers as scale * q, q a whole number from -127 to 127: symmetric int8.
//
// What shares a scale has scale = max(largest magnitude / 127, smallest normal float32), and q is
// x / scale rounded to nearest: |x - scale * q| <= scale / 2, but for the rounding of the division.
// Zeros stay zeros. If one of the numbers is infinite or none, the scale is NaN and q is 0, so that
// whatever is computed with them is NaN.
namespace tf_ls {

// What is added to q where products want numbers without a sign.
constexpr int kInt8Offset = 128;
// Inputs that a product takes at once; rows are filled up to a multiple of it.
constexpr int64_t kInt8Group = 4;

// Rows that were quantised as they came, each with a scale of its own.
struct QuantizedRows {
  const uint8_t* numbers;  // [rows, stride]: q + kInt8Offset; zeros behind a row's numbers
  int64_t stride;
  const float* scales;  // [rows]
};

// Rows of n numbers, quantised into cpu.arena. Cost: reads x twice, the second time from the
// first-level cache, and writes a byte a number.
template <typename T>
QuantizedRows QuantizeRows(const Cpu& cpu, const T* x, int64_t rows, int64_t n);

// A weight, each output with a scale of its own. numbers: q, stored as the weight is; scales:
// [outputs]. Cost: reads the weight twice.
void QuantizeWeight(const Cpu& cpu, const Weight& weight, int8_t* numbers, float* scales);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_QUANTIZE_H_
