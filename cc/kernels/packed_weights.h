#ifndef TF_LS_CC_KERNELS_PACKED_WEIGHTS_H_
#define TF_LS_CC_KERNELS_PACKED_WEIGHTS_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cc/core/cpu.h"
#include "cc/core/weight_casts.h"
#include "cc/kernels/int8_weight.h"
#include "cc/kernels/matmul.h"
#include "cc/kernels/onednn_matmul.h"

// Weights that are laid out once on the CPU, for what multiplies by them again and again: a
// generation loop does so in every step, with one row or hundreds. (Training lays them out for each
// product, since they change.)
namespace tf_ls {

// A weight laid out for products with any number of rows, cut into slices of outputs that threads
// share.
class PackedWeight {
 public:
  using DataType = dnnl::memory::data_type;

  // In `memory` of bytes(), which Pack fills; null to measure. The weight's data is but its name.
  PackedWeight(const Weight& weight, DataType type, void* memory);

  size_t bytes() const { return slice_bytes_ * slices(); }
  // `numbers`: the weight's, stored as it says, of a floating type. Cost: reads and writes 4 or 2
  // bytes a number.
  void Pack(const Cpu& cpu, const AnyNumbers& numbers) const;

  // Whether `weight` in `type` is what is packed.
  bool Is(const Weight& weight, DataType type) const {
    return weight.data == weight_.data && weight.inputs == weight_.inputs &&
           weight.outputs == weight_.outputs && weight.transposed == weight_.transposed &&
           type == type_;
  }

  // Outputs `first` to first + count of y = x * weight (+ bias) (+ y), y[rows, count] of type
  // y_type with rows `y_stride` numbers apart; the bias is that of all outputs. `first` is a
  // multiple of kMostColumns, and so is `count` unless the outputs end there.
  //
  // Cost: reads the weight once for every kMostRows rows: a few rows take as long as that takes.
  // oneDNN multiplies; PanelProduct, if it can, where there are few rows; SmallGemm, where oneDNN
  // lays out no weights.
  void Multiply(const Cpu& cpu, const void* x, int64_t rows, int64_t first, int64_t count,
                const float* bias, bool accumulate, DataType y_type, int64_t y_stride,
                void* y) const;

  // Outputs of a slice at most.
  static constexpr int64_t kMostColumns = 256;

 private:
  // Of a slice: what oneDNN likes best, which PanelProduct may be able to read, too, or as
  // gemm_panels.h says.
  enum class Layout { kOneDnn, kOneDnnPanels, kGemmPanels };

  static Layout LayoutOf(int64_t inputs, int64_t columns, DataType type);

  template <typename From>
  void PackSlice(int64_t slice, const From* numbers) const;

  // Rows that are multiplied by a slice at once, at most.
  static constexpr int64_t kMostRows = 128;

  // As Multiply, of slices laid out as kGemmPanels.
  void MultiplyGemmPanels(const Cpu& cpu, const float* x, int64_t rows, int64_t first_slice,
                          int64_t slices, const float* bias, bool accumulate, int64_t y_stride,
                          float* y) const;

  // As Multiply, the outputs of one panel, of rows of float32.
  void MultiplyFewRows(const float* x, int64_t x_stride, int64_t rows, int64_t panel,
                       const float* bias, bool accumulate, DataType y_type, int64_t y_stride,
                       unsigned char* y) const;

  // That a slice takes a core.
  int64_t SliceCycles(int64_t rows) const;
  int64_t slices() const { return (weight_.outputs + columns_ - 1) / columns_; }
  int64_t Columns(int64_t slice) const {
    return std::min(columns_, weight_.outputs - slice * columns_);
  }
  unsigned char* Slice(int64_t slice) const { return memory_ + slice * slice_bytes_; }

  Weight weight_;
  DataType type_;
  int64_t columns_;  // of a slice, but for the last
  Layout layout_;
  size_t slice_bytes_;
  unsigned char* memory_;
};

// Those of a model, found by their addresses. A model has some hundred. MatMul and Logits multiply
// by a weight that is there in int8 as Int8Weight does, with rows of any type.
class PackedWeights {
 public:
  void Add(const PackedWeight& weight) { weights_.push_back(weight); }
  void Add(const Int8Weight& weight) { int8_weights_.push_back(weight); }

  // Null if there is none.
  const PackedWeight* Find(const Weight& weight, dnnl::memory::data_type type) const {
    for (const PackedWeight& packed : weights_) {
      if (packed.Is(weight, type)) return &packed;
    }
    return nullptr;
  }
  const Int8Weight* FindInt8(const Weight& weight) const {
    for (const Int8Weight& packed : int8_weights_) {
      if (packed.Is(weight)) return &packed;
    }
    return nullptr;
  }

 private:
  std::vector<PackedWeight> weights_;
  std::vector<Int8Weight> int8_weights_;
};

// What cpu.packed_weights has of a weight; null if that is nothing.
inline const PackedWeight* FindPacked(const Cpu& cpu, const Weight& weight,
                                      dnnl::memory::data_type type) {
  return cpu.packed_weights == nullptr ? nullptr : cpu.packed_weights->Find(weight, type);
}

// The same in int8, which comes before other forms.
inline const Int8Weight* FindInt8(const Cpu& cpu, const Weight& weight) {
  return cpu.packed_weights == nullptr ? nullptr : cpu.packed_weights->FindInt8(weight);
}

// The type in which T is multiplied: float32, where the processor does not multiply bfloat16.
template <typename T>
dnnl::memory::data_type ProductType() {
  return std::is_same<T, float>::value || !onednn::HasBfloat16() ? onednn::kDataType<float>
                                                                 : onednn::kDataType<T>;
}

// How many bytes weights take that are packed for products of T, one after the other. In `memory`,
// unless it is null, they are made known to `packed`. Vectors are left out.
template <typename T>
size_t PlacePacked(const std::vector<WeightPiece>& weights, const void* memory,
                   PackedWeights* packed);

// Packs them there.
template <typename T>
void PackWeights(const Cpu& cpu, const std::vector<WeightPiece>& weights, void* memory);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_PACKED_WEIGHTS_H_
