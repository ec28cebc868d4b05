#include <algorithm>
#include <type_traits>

#include "cc/kernels/cast.h"
#include "cc/kernels/gemm_panels.h"
#include "cc/kernels/matmul.h"
#include "cc/kernels/onednn_matmul.h"
#include "cc/kernels/packed_weights.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

using onednn::kDataType;
using onednn::Product;
using onednn::ProductCycles;
using onednn::ProductShape;
using DataType = dnnl::memory::data_type;

// Enough rows for a block of weights to be reused from the cache, few enough for the threads to
// share the work evenly. Packed rows come in multiples of it, so that one compiled product serves
// every batch.
constexpr int64_t kBlockRows = 64;
// With fewer rows than this, weights are read from memory as they are and shared out by columns.
constexpr int64_t kFewRows = 64;
constexpr int64_t kColumnsPerTask = 256;
// A block of a weight's gradient and the rows that go into it at once; both stay in the
// second-level cache.
constexpr int64_t kGradientBlock = 128;
constexpr int64_t kGradientRows = 256;
// As kGradientBlock, where what goes into a block is copied to panels first.
constexpr int64_t kPanelGradientBlock = 256;

int64_t RowStride(const Weight& w) { return w.transposed ? 1 : w.outputs; }
int64_t ColumnStride(const Weight& w) { return w.transposed ? w.inputs : 1; }

template <typename T>
void MatMulFewRows(const Cpu& cpu, const T* x, int64_t rows, const Weight& w, const float* bias,
                   bool accumulate, T* y) {
  const int64_t tasks = (w.outputs + kColumnsPerTask - 1) / kColumnsPerTask;
  const auto columns = [&](int64_t task) {
    return std::min(kColumnsPerTask, w.outputs - task * kColumnsPerTask);
  };
  constexpr bool kPlain = std::is_same<T, float>::value;
  const auto get = [&](int64_t task) {
    return Product::Get({rows, w.inputs, columns(task), w.inputs, 1, kPlain ? RowStride(w) : 0,
                         kPlain ? ColumnStride(w) : 0, w.outputs, kDataType<T>, kDataType<T>,
                         bias != nullptr, accumulate});
  };
  const auto inner = get(0);
  const auto last = get(tasks - 1);
  const size_t task_bytes =
      AlignUp(kPlain ? 0 : std::max(inner->packed_bytes(), last->packed_bytes()));
  unsigned char* const packed = cpu.arena->Allocate<unsigned char>(task_bytes * tasks);
  cpu.threads->ParallelFor(
      tasks, ProductCycles(rows, w.inputs, kColumnsPerTask), [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const Product& product = task == tasks - 1 ? *last : *inner;
          const int64_t column = task * kColumnsPerTask;
          const float* slice = w.data + column * ColumnStride(w);
          const void* b = slice;
          if (!kPlain) {
            product.Pack(slice, DataType::f32, RowStride(w), ColumnStride(w),
                         packed + task * task_bytes);
            b = packed + task * task_bytes;
          }
          product.Run(x, b, bias == nullptr ? nullptr : bias + column, y + column);
        }
      });
}

template <typename T>
void MatMulManyRows(const Cpu& cpu, const T* x, int64_t rows, const Weight& w, const float* bias,
                    bool accumulate, T* y) {
  const auto get = [&](int64_t block_rows) {
    return Product::Get({block_rows, w.inputs, w.outputs, w.inputs, 1, 0, 0, w.outputs,
                         kDataType<T>, kDataType<T>, bias != nullptr, accumulate});
  };
  const auto block = get(kBlockRows);
  unsigned char* const packed = cpu.arena->Allocate<unsigned char>(block->packed_bytes());
  block->Pack(w.data, DataType::f32, RowStride(w), ColumnStride(w), packed);
  const int64_t blocks = rows / kBlockRows;
  cpu.threads->ParallelFor(
      blocks, ProductCycles(kBlockRows, w.inputs, w.outputs), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          block->Run(x + i * kBlockRows * w.inputs, packed, bias, y + i * kBlockRows * w.outputs);
        }
      });
  const int64_t done = blocks * kBlockRows;
  if (done < rows)
    MatMulFewRows(cpu, x + done * w.inputs, rows - done, w, bias, accumulate, y + done * w.outputs);
}

// Where oneDNN lays out no weights. Gives the same numbers as PackedWeight does.
void MatMulPanels(const Cpu& cpu, const float* x, int64_t rows, const Weight& w, const float* bias,
                  bool accumulate, float* y) {
  const int64_t inputs = w.inputs;
  float* const packed = cpu.arena->Allocate<float>(PanelNumbers(inputs, w.outputs));
  const int64_t slices = (w.outputs + kColumnsPerTask - 1) / kColumnsPerTask;
  const auto columns = [&](int64_t slice) {
    return std::min(kColumnsPerTask, w.outputs - slice * kColumnsPerTask);
  };
  cpu.threads->ParallelFor(slices, inputs * kColumnsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t column = i * kColumnsPerTask;
      PackPanels(w.data + column * ColumnStride(w), inputs, columns(i), RowStride(w),
                 ColumnStride(w), packed + column * inputs);
    }
  });
  const int64_t blocks = (rows + kPanelRows - 1) / kPanelRows;
  const int64_t cost = ProductCycles(kPanelRows, inputs, kColumnsPerTask);
  cpu.threads->ParallelFor(blocks * slices, cost, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / slices * kPanelRows, slice = task % slices;
      const int64_t column = slice * kColumnsPerTask;
      MultiplyPanels(std::min(kPanelRows, rows - row), columns(slice), inputs, x + row * inputs,
                     inputs, 1, packed + column * inputs, bias == nullptr ? nullptr : bias + column,
                     y + row * w.outputs + column, w.outputs, accumulate);
    }
  });
}

// Whether there is the weight in int8 to do it with.
template <typename T>
bool MatMulInt8(const Cpu& cpu, const T* x, int64_t rows, const Weight& w, const float* bias,
                bool accumulate, T* y) {
  const Int8Weight* const packed = FindInt8(cpu, w);
  if (packed == nullptr) return false;
  packed->Multiply(cpu, x, rows, 0, w.outputs, bias, accumulate, w.outputs, y);
  return true;
}

template <typename T>
void MatMulNative(const Cpu& cpu, const T* x, int64_t rows, const Weight& w, const float* bias,
                  bool accumulate, T* y) {
  if (rows == 0) return;
  const PackedWeight* const packed = FindPacked(cpu, w, kDataType<T>);
  if (packed != nullptr) {
    return packed->Multiply(cpu, x, rows, 0, w.outputs, bias, accumulate, kDataType<T>, w.outputs,
                            y);
  }
  const ArenaScope scope(cpu.arena);
  if constexpr (std::is_same<T, float>::value) {
    if (!onednn::LaysOutWeights()) return MatMulPanels(cpu, x, rows, w, bias, accumulate, y);
  }
  if (rows <= kFewRows) return MatMulFewRows(cpu, x, rows, w, bias, accumulate, y);
  MatMulManyRows(cpu, x, rows, w, bias, accumulate, y);
}

// dw[m, n] = x^T dy (+ dw) of matrices whose rows are `inputs` and `outputs` numbers apart, from
// copies that lie side by side.
void MultiplyGradientPanels(int64_t m, int64_t n, int64_t rows, const float* x, int64_t inputs,
                            const float* dy, int64_t outputs, float* dw, bool accumulate) {
  float* const x_panels = ThreadBuffer<33>(PanelNumbers(rows, m));
  float* const dy_panels = ThreadBuffer<34>(PanelNumbers(rows, n));
  PackPanels(x, rows, m, inputs, 1, x_panels);
  PackPanels(dy, rows, n, outputs, 1, dy_panels);
  for (int64_t i = 0; i < m; i += kGemmLanes) {
    MultiplyPanels(std::min(kGemmLanes, m - i), n, rows, x_panels + i * rows, 1, kGemmLanes,
                   dy_panels, nullptr, dw + i * outputs, outputs, accumulate);
  }
}

template <typename T>
void WeightGradientNative(const Cpu& cpu, const T* x, const T* dy, int64_t rows, int64_t inputs,
                          int64_t outputs, float* dw) {
  if (rows == 0) {
    std::fill(dw, dw + inputs * outputs, 0.0f);
    return;
  }
  const int64_t size = onednn::LaysOutWeights() ? kGradientBlock : kPanelGradientBlock;
  const int64_t row_blocks = (inputs + size - 1) / size;
  const int64_t column_blocks = (outputs + size - 1) / size;
  const int64_t cost = ProductCycles(size, rows, size);
  cpu.threads->ParallelFor(row_blocks * column_blocks, cost, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t input = task / column_blocks * size;
      const int64_t output = task % column_blocks * size;
      const int64_t m = std::min(size, inputs - input);
      const int64_t n = std::min(size, outputs - output);
      for (int64_t row = 0; row < rows; row += kGradientRows) {
        const int64_t k = std::min(kGradientRows, rows - row);
        const T* const some_x = x + row * inputs + input;
        const T* const some_dy = dy + row * outputs + output;
        float* const block = dw + input * outputs + output;
        if constexpr (std::is_same<T, float>::value) {
          if (!onednn::LaysOutWeights()) {
            MultiplyGradientPanels(m, n, k, some_x, inputs, some_dy, outputs, block, row > 0);
            continue;
          }
        }
        Product::Get({m, k, n, 1, inputs, outputs, 1, outputs, kDataType<T>, DataType::f32, false,
                      /*accumulate=*/row > 0})
            ->Run(some_x, some_dy, nullptr, block);
      }
    }
  });
}

}  // namespace

void MatMul(const Cpu& cpu, const float* x, int64_t rows, const Weight& weight, const float* bias,
            bool accumulate, float* y) {
  if (MatMulInt8(cpu, x, rows, weight, bias, accumulate, y)) return;
  MatMulNative(cpu, x, rows, weight, bias, accumulate, y);
}

void MatMul(const Cpu& cpu, const bfloat16* x, int64_t rows, const Weight& weight,
            const float* bias, bool accumulate, bfloat16* y) {
  if (MatMulInt8(cpu, x, rows, weight, bias, accumulate, y)) return;
  if (onednn::HasBfloat16()) return MatMulNative(cpu, x, rows, weight, bias, accumulate, y);
  const ArenaScope scope(cpu.arena);
  const int64_t count = rows * weight.outputs;
  const float* const wide_x = Widen(cpu, x, rows * weight.inputs);
  float* const wide_y = accumulate ? Widen(cpu, y, count) : cpu.arena->Allocate<float>(count);
  MatMulNative(cpu, wide_x, rows, weight, bias, accumulate, wide_y);
  Narrow(cpu, wide_y, count, y);
}

void MatMulWeightGradient(const Cpu& cpu, const float* x, const float* dy, int64_t rows,
                          int64_t inputs, int64_t outputs, float* dw) {
  WeightGradientNative(cpu, x, dy, rows, inputs, outputs, dw);
}

void MatMulWeightGradient(const Cpu& cpu, const bfloat16* x, const bfloat16* dy, int64_t rows,
                          int64_t inputs, int64_t outputs, float* dw) {
  if (onednn::HasBfloat16()) return WeightGradientNative(cpu, x, dy, rows, inputs, outputs, dw);
  const ArenaScope scope(cpu.arena);
  WeightGradientNative(cpu, Widen(cpu, x, rows * inputs), Widen(cpu, dy, rows * outputs), rows,
                       inputs, outputs, dw);
}

}  // namespace tf_ls
