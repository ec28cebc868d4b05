#ifndef TF_LS_CC_KERNELS_INT8_WEIGHT_H_
#define TF_LS_CC_KERNELS_INT8_WEIGHT_H_

#include <cstdint>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/cpu.h"
#include "cc/core/weight_casts.h"
#include "cc/kernels/int8_panel.h"
#include "cc/kernels/matmul.h"

namespace tf_ls {

class PackedWeights;

// A weight in int8, laid out once for what multiplies by it again and again. Rows are quantised as
// they come, each on its own; what products sum is exact, and scaled in float32.
class Int8Weight {
 public:
  // In `memory` of bytes(), which Pack fills; null to measure. The weight's data is what it is
  // found by. Throws std::invalid_argument if there are more than kMostInputs inputs.
  Int8Weight(const Weight& weight, void* memory);

  size_t bytes() const { return bytes_; }

  // Lays out what QuantizeWeight makes: numbers, stored as the weight is, and scales [outputs].
  // Cost: reads and writes a byte a number.
  void Pack(const Cpu& cpu, const int8_t* numbers, const float* scales) const;

  bool Is(const Weight& weight) const {
    return weight.data == weight_.data && weight.inputs == weight_.inputs &&
           weight.outputs == weight_.outputs && weight.transposed == weight_.transposed;
  }

  // Outputs `first` to first + count of y = x * weight (+ bias) (+ y), for x [rows, inputs] and y
  // [rows, count], whose rows are y_stride numbers apart; the bias is that of all outputs. `first`
  // is a multiple of kInt8PanelColumns, and so is `count` unless the outputs end there. A row of x
  // that holds an infinity or a NaN gives NaNs.
  //
  // Cost: 2 * rows * inputs * count operations; reads the weight, a byte a number, once for every
  // kMostRows rows: up to kMostInt8PanelRows rows take as long as that takes.
  template <typename T, typename Y>
  void Multiply(const Cpu& cpu, const T* x, int64_t rows, int64_t first, int64_t count,
                const float* bias, bool accumulate, int64_t y_stride, Y* y) const;

  // So that no sum exceeds 32 bits.
  static constexpr int64_t kMostInputs = 1 << 17;

 private:
  // Rows that a panel is multiplied by, from the second-level cache, before the next panel is.
  static constexpr int64_t kMostRows = 32 * kMostInt8PanelRows;

  template <typename Y>
  void MultiplyPanel(const QuantizedRows& x, int64_t first_row, int64_t rows, int64_t panel,
                     const float* bias, bool accumulate, int64_t y_stride, Y* y) const;

  int64_t panels() const { return (weight_.outputs + kInt8PanelColumns - 1) / kInt8PanelColumns; }
  int64_t panel_bytes() const { return groups_ * kInt8PanelColumns * kInt8Group; }
  Int8Panel Panel(int64_t panel) const {
    return {numbers_ + panel * panel_bytes(), offsets_ + panel * kInt8PanelColumns, groups_};
  }

  Weight weight_;
  int64_t groups_;    // of inputs
  float* scales_;     // [panels, 64]
  int32_t* offsets_;  // [panels, 64]
  int8_t* numbers_;
  size_t bytes_;
};

// How many bytes weights take that are packed in int8, one after the other. In `memory`, unless it
// is null, they are made known to `packed`, and come before other forms of the same weights.
// Vectors, of one row, are left out.
size_t PlaceInt8(const std::vector<WeightPiece>& weights, const void* memory,
                 PackedWeights* packed);

// Packs them there, from int8, or from float32 by QuantizeWeight, which takes scratch memory of a
// byte a number of the largest. They must be of one of these types.
void PackInt8(const Cpu& cpu, const std::vector<WeightPiece>& weights, void* memory);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_INT8_WEIGHT_H_
