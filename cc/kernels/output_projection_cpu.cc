#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cc/kernels/cast.h"
#include "cc/kernels/onednn_matmul.h"
#include "cc/kernels/output_projection.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/vocabulary_slices.h"

namespace tf_ls {
namespace {

using onednn::kDataType;
using onednn::Product;
using onednn::ProductCycles;
using DataType = dnnl::memory::data_type;

constexpr int64_t kGradientRows = 256;
constexpr int64_t kGradientColumns = 256;

int64_t Blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

// A buffer of this thread for a piece of the logits.
template <typename T>
T* Buffer(int64_t count) {
  return reinterpret_cast<T*>(ThreadBuffer<20>(count));
}

template <typename T>
void ClearUncovered(const Cpu& cpu, const OutputProjectionShape& shape, T* logits) {
  std::vector<bool> covered(shape.positions, false);
  for (int64_t i = 0; i < shape.rows; ++i) {
    if (shape.indices[i] >= 0) covered[shape.indices[i]] = true;
  }
  cpu.threads->ParallelFor(shape.positions, shape.vocab_size / 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (!covered[i])
        std::fill(logits + i * shape.vocab_size, logits + (i + 1) * shape.vocab_size, T{});
    }
  });
}

// to[i] = columns of the logits' row that packed row first + i belongs to; zeros for rows that
// belong nowhere.
template <typename T>
void GatherLogits(const OutputProjectionShape& shape, const T* logits, int64_t first, int64_t rows,
                  int64_t column, int64_t columns, T* to) {
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t index = first + i < shape.rows ? shape.indices[first + i] : -1;
    if (index >= 0) {
      std::memcpy(to + i * columns, logits + index * shape.vocab_size + column,
                  columns * sizeof(T));
    } else {
      std::fill(to + i * columns, to + (i + 1) * columns, T{});
    }
  }
}

template <typename T>
void Forward(const Cpu& cpu, const OutputProjectionShape& shape, const T* x, const float* weights,
             const float* bias, T* logits) {
  const ArenaScope scope(cpu.arena);
  const T* const whole_x = WholeBlocks(cpu, x, shape.rows, shape.hidden_size);
  const std::vector<VocabularySlice> slices =
      LogitSlices(cpu, shape.hidden_size, shape.vocab_size, weights, bias != nullptr,
                  /*row_stride=*/0, kDataType<T>, kDataType<T>);
  const int64_t blocks = Blocks(shape.rows, kBlockRows);
  const int64_t cost =
      ProductCycles(kBlockRows, shape.hidden_size, std::min(kSliceColumns, shape.vocab_size));
  cpu.threads->ParallelFor(blocks * slices.size(), cost, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const VocabularySlice& slice =
          slices[task / blocks];  // one slice for many blocks: its weights stay in the cache
      const int64_t first = task % blocks * kBlockRows;
      T* const buffer = Buffer<T>(kBlockRows * slice.columns);
      slice.product->Run(whole_x + first * shape.hidden_size, slice.packed,
                         bias == nullptr ? nullptr : bias + slice.start, buffer);
      for (int64_t i = first; i < std::min(shape.rows, first + kBlockRows); ++i) {
        if (shape.indices[i] < 0) continue;
        std::memcpy(logits + shape.indices[i] * shape.vocab_size + slice.start,
                    buffer + (i - first) * slice.columns, slice.columns * sizeof(T));
      }
    }
  });
}

template <typename T>
void InputGradient(const Cpu& cpu, const OutputProjectionShape& shape, const float* weights,
                   const T* dlogits, T* dx) {
  const ArenaScope scope(cpu.arena);
  const std::vector<VocabularySlice> slices = InputGradientSlices(
      cpu, shape.hidden_size, shape.vocab_size, weights, /*row_stride=*/0, kDataType<T>);
  const int64_t hidden = shape.hidden_size;
  const int64_t cost = ProductCycles(kBlockRows, hidden, shape.vocab_size);
  cpu.threads->ParallelFor(Blocks(shape.rows, kBlockRows), cost, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlockRows;
      float* const sum = ThreadBuffer<21>(kBlockRows * hidden);
      for (const VocabularySlice& slice : slices) {
        T* const buffer = Buffer<T>(kBlockRows * slice.columns);
        GatherLogits(shape, dlogits, first, kBlockRows, slice.start, slice.columns, buffer);
        slice.product->Run(buffer, slice.packed, nullptr, sum);
      }
      for (int64_t i = first; i < std::min(shape.rows, first + kBlockRows); ++i) {
        float* const from = sum + (i - first) * hidden;
        float* const target = RowTarget(dx + i * hidden, from);
        if (target != from) std::copy(from, from + hidden, target);
        WriteRow(target, hidden, dx + i * hidden);
      }
    }
  });
}

template <typename T>
void WeightGradient(const Cpu& cpu, const OutputProjectionShape& shape, const T* x,
                    const T* dlogits, float* dweights, float* dbias) {
  const int64_t hidden = shape.hidden_size;
  const int64_t cost = ProductCycles(shape.rows, hidden, kGradientColumns);
  cpu.threads->ParallelFor(
      Blocks(shape.vocab_size, kGradientColumns), cost, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t column = task * kGradientColumns;
          const int64_t columns = std::min(kGradientColumns, shape.vocab_size - column);
          T* const buffer = Buffer<T>(kGradientRows * columns);
          if (dbias != nullptr) std::fill(dbias + column, dbias + column + columns, 0.0f);
          for (int64_t first = 0; first < shape.rows; first += kGradientRows) {
            const int64_t rows = std::min(kGradientRows, shape.rows - first);
            GatherLogits(shape, dlogits, first, rows, column, columns, buffer);
            const auto product =
                Product::Get({columns, rows, hidden, 1, columns, hidden, 1, hidden, kDataType<T>,
                              DataType::f32, false, /*accumulate=*/first > 0});
            product->Run(buffer, x + first * hidden, nullptr, dweights + column * hidden);
            if (dbias == nullptr) continue;
            for (int64_t i = 0; i < rows; ++i) {
              row::Add(dbias + column,
                       ReadRow(buffer + i * columns, columns, ThreadBuffer<21>(columns)), columns,
                       dbias + column);
            }
          }
        }
      });
}

template <typename T>
void Backward(const Cpu& cpu, const OutputProjectionShape& shape, const T* x, const float* weights,
              const T* dlogits, T* dx, float* dweights, float* dbias) {
  if (shape.rows == 0) {
    std::fill(dweights, dweights + shape.vocab_size * shape.hidden_size, 0.0f);
    if (dbias != nullptr) std::fill(dbias, dbias + shape.vocab_size, 0.0f);
    return;
  }
  InputGradient(cpu, shape, weights, dlogits, dx);
  WeightGradient(cpu, shape, x, dlogits, dweights, dbias);
}

}  // namespace

template <>
void OutputProjection(const Cpu& cpu, const OutputProjectionShape& shape, const float* x,
                      const float* weights, const float* bias, float* logits) {
  ClearUncovered(cpu, shape, logits);
  Forward(cpu, shape, x, weights, bias, logits);
}

template <>
void OutputProjection(const Cpu& cpu, const OutputProjectionShape& shape, const bfloat16* x,
                      const float* weights, const float* bias, bfloat16* logits) {
  ClearUncovered(cpu, shape, logits);
  if (onednn::HasBfloat16()) return Forward(cpu, shape, x, weights, bias, logits);
  const ArenaScope scope(cpu.arena);
  const int64_t count = shape.positions * shape.vocab_size;
  float* const wide = cpu.arena->Allocate<float>(count);
  ClearUncovered(cpu, shape, wide);
  Forward(cpu, shape, Widen(cpu, x, shape.rows * shape.hidden_size), weights, bias, wide);
  Narrow(cpu, wide, count, logits);
}

template <>
void OutputProjectionGradient(const Cpu& cpu, const OutputProjectionShape& shape, const float* x,
                              const float* weights, const float* dlogits, float* dx,
                              float* dweights, float* dbias) {
  Backward(cpu, shape, x, weights, dlogits, dx, dweights, dbias);
}

template <>
void OutputProjectionGradient(const Cpu& cpu, const OutputProjectionShape& shape, const bfloat16* x,
                              const float* weights, const bfloat16* dlogits, bfloat16* dx,
                              float* dweights, float* dbias) {
  if (onednn::HasBfloat16()) return Backward(cpu, shape, x, weights, dlogits, dx, dweights, dbias);
  const ArenaScope scope(cpu.arena);
  const int64_t count = shape.rows * shape.hidden_size;
  float* const wide_dx = cpu.arena->Allocate<float>(count);
  Backward(cpu, shape, Widen(cpu, x, count), weights,
           Widen(cpu, dlogits, shape.positions * shape.vocab_size), wide_dx, dweights, dbias);
  Narrow(cpu, wide_dx, count, dx);
}

}  // namespace tf_ls
