#include "cc/kernels/int8_weight.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <variant>

#include "cc/kernels/matrix_pieces.h"
#include "cc/kernels/packed_weights.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

// What a core does in a cycle: multiplications of bytes, and bytes of a weight read from memory.
constexpr int64_t kProductsPerCycle = 64;
constexpr int64_t kBytesPerCycle = 2;
// While this many blocks of rows go by, the next panel comes from memory.
constexpr int64_t kBlocksAhead = 2;

int64_t Quotient(int64_t n, int64_t divisor) { return (n + divisor - 1) / divisor; }

void Scale(const int32_t* sums, int64_t rows, int64_t columns, const float* row_scales,
           const float* column_scales, const float* bias, bool accumulate, int64_t y_stride,
           float* y) {
  ScaleInt8Sums(sums, rows, columns, row_scales, column_scales, bias, accumulate, y_stride, y);
}

void Scale(const int32_t* sums, int64_t rows, int64_t columns, const float* row_scales,
           const float* column_scales, const float* bias, bool accumulate, int64_t y_stride,
           bfloat16* y) {
  float wide[kMostInt8PanelRows * kInt8PanelColumns];
  for (int64_t i = 0; i < rows && accumulate; ++i) {
    row::Load(y + i * y_stride, columns, wide + i * kInt8PanelColumns);
  }
  ScaleInt8Sums(sums, rows, columns, row_scales, column_scales, bias, accumulate, kInt8PanelColumns,
                wide);
  for (int64_t i = 0; i < rows; ++i) {
    row::Store(wide + i * kInt8PanelColumns, columns, y + i * y_stride);
  }
}

Int8Weight Make(const Weight& weight, void* memory) { return {weight, memory}; }

}  // namespace

Int8Weight::Int8Weight(const Weight& weight, void* memory)
    : weight_(weight), groups_(Quotient(weight.inputs, kInt8Group)) {
  if (weight.inputs > kMostInputs) {
    throw std::invalid_argument("products in int8 sum over at most " + std::to_string(kMostInputs) +
                                " inputs, got " + std::to_string(weight.inputs));
  }
  BufferCutter cutter(memory);
  scales_ = cutter.Cut<float>(panels() * kInt8PanelColumns);
  offsets_ = cutter.Cut<int32_t>(panels() * kInt8PanelColumns);
  numbers_ = cutter.Cut<int8_t>(panels() * panel_bytes());
  bytes_ = cutter.used();
}

void Int8Weight::Pack(const Cpu& cpu, const int8_t* numbers, const float* scales) const {
  const int64_t inputs = weight_.inputs, outputs = weight_.outputs;
  const int64_t input_stride = weight_.transposed ? 1 : outputs;
  const int64_t output_stride = weight_.transposed ? inputs : 1;
  cpu.threads->ParallelFor(panels(), panel_bytes(), [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * kInt8PanelColumns;
      const int64_t columns = std::min(kInt8PanelColumns, outputs - first);
      int8_t* to = numbers_ + panel * panel_bytes();
      int32_t sums[kInt8PanelColumns] = {};
      for (int64_t p = 0; p < groups_ * kInt8Group; p += kInt8Group) {
        const int64_t count = std::min(kInt8Group, inputs - p);
        std::memset(to, 0, kInt8PanelColumns * kInt8Group);
        for (int64_t j = 0; j < columns; ++j) {
          const int8_t* const from = numbers + p * input_stride + (first + j) * output_stride;
          for (int64_t i = 0; i < count; ++i) {
            to[j * kInt8Group + i] = from[i * input_stride];
            sums[j] += from[i * input_stride];
          }
        }
        to += kInt8PanelColumns * kInt8Group;
      }
      for (int64_t j = 0; j < kInt8PanelColumns; ++j) {
        scales_[first + j] = j < columns ? scales[first + j] : 0.0f;
        offsets_[first + j] = kInt8Offset * sums[j];
      }
    }
  });
}

template <typename T, typename Y>
void Int8Weight::Multiply(const Cpu& cpu, const T* x, int64_t rows, int64_t first, int64_t count,
                          const float* bias, bool accumulate, int64_t y_stride, Y* y) const {
  if (rows == 0 || count == 0) return;
  if (first % kInt8PanelColumns != 0 ||
      (count % kInt8PanelColumns != 0 && first + count != weight_.outputs)) {
    throw std::logic_error("outputs of a weight in int8 come in whole panels");
  }
  const ArenaScope scope(cpu.arena);
  const QuantizedRows quantized = QuantizeRows(cpu, x, rows, weight_.inputs);
  const int64_t first_panel = first / kInt8PanelColumns;
  const int64_t count_panels = Quotient(count, kInt8PanelColumns);
  const int64_t cost = std::min(rows, kMostRows) * panel_bytes() / kProductsPerCycle +
                       panel_bytes() / kBytesPerCycle;
  const int64_t tasks = Quotient(rows, kMostRows) * count_panels;
  cpu.threads->ParallelFor(tasks, cost, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / count_panels * kMostRows, panel = task % count_panels;
      MultiplyPanel(quantized, row, std::min(kMostRows, rows - row), first_panel + panel, bias,
                    accumulate, y_stride, y + row * y_stride + panel * kInt8PanelColumns);
    }
  });
}

template <typename Y>
void Int8Weight::MultiplyPanel(const QuantizedRows& x, int64_t first_row, int64_t rows,
                               int64_t panel, const float* bias, bool accumulate, int64_t y_stride,
                               Y* y) const {
  const int64_t column = panel * kInt8PanelColumns;
  const int64_t columns = std::min(kInt8PanelColumns, weight_.outputs - column);
  // As equal as they can be, since a few rows take longer each.
  const int64_t blocks = Quotient(rows, kMostInt8PanelRows);
  for (int64_t block = 0, row = 0; block < blocks; ++block) {
    const int64_t block_rows = Quotient(rows - row, blocks - block);
    // With one block alone the processor looks ahead by itself.
    const bool look_ahead = blocks > 1 && block < kBlocksAhead && panel + 1 < panels();
    const int8_t* const ahead =
        numbers_ + (panel + 1) * panel_bytes() + block * panel_bytes() / kBlocksAhead;
    int32_t sums[kMostInt8PanelRows * kInt8PanelColumns];
    Int8PanelProduct(x.numbers + (first_row + row) * x.stride, x.stride, block_rows, Panel(panel),
                     look_ahead ? ahead : nullptr, sums);
    Scale(sums, block_rows, columns, x.scales + first_row + row, scales_ + column,
          bias == nullptr ? nullptr : bias + column, accumulate, y_stride, y + row * y_stride);
    row += block_rows;
  }
}

template void Int8Weight::Multiply(const Cpu&, const float*, int64_t, int64_t, int64_t,
                                   const float*, bool, int64_t, float*) const;
template void Int8Weight::Multiply(const Cpu&, const bfloat16*, int64_t, int64_t, int64_t,
                                   const float*, bool, int64_t, float*) const;
template void Int8Weight::Multiply(const Cpu&, const bfloat16*, int64_t, int64_t, int64_t,
                                   const float*, bool, int64_t, bfloat16*) const;

size_t PlaceInt8(const std::vector<WeightPiece>& weights, const void* memory,
                 PackedWeights* packed) {
  return ForEachMatrix(weights, const_cast<void*>(memory), Make,
                       [&](size_t /*i*/, const Weight& /*weight*/, const Int8Weight& place) {
                         if (memory != nullptr) packed->Add(place);
                       });
}

void PackInt8(const Cpu& cpu, const std::vector<WeightPiece>& weights, void* memory) {
  const auto pack = [&](size_t i, const Weight& weight, const Int8Weight& place) {
    const AnyNumbers& from = weights[i].numbers;
    if (const auto* const stored = std::get_if<Int8Numbers>(&from)) {
      return place.Pack(cpu, stored->data, stored->scales);
    }
    const ArenaScope scope(cpu.arena);
    int8_t* const numbers = cpu.arena->Allocate<int8_t>(weight.inputs * weight.outputs);
    float* const scales = cpu.arena->Allocate<float>(weight.outputs);
    Weight wide = weight;
    wide.data = std::get<const float*>(from);
    QuantizeWeight(cpu, wide, numbers, scales);
    place.Pack(cpu, numbers, scales);
  };
  ForEachMatrix(weights, memory, Make, pack);
}

}  // namespace tf_ls
