#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "cc/kernels/cast.h"
#include "cc/kernels/onednn_matmul.h"
#include "cc/kernels/output_projection.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

using onednn::kDataType;
using onednn::Product;
using onednn::ProductCycles;
using DataType = dnnl::memory::data_type;

constexpr int64_t kBlockRows = 64;
constexpr int64_t kSliceColumns = 2048;
constexpr int64_t kGradientRows = 256;
constexpr int64_t kGradientColumns = 256;

int64_t Blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

// A buffer of this thread for a piece of the logits.
template <typename T>
T* Buffer(int64_t count) {
  return reinterpret_cast<T*>(ThreadBuffer<20>(count));
}

// One slice of the vocabulary with its part of the weights laid out for oneDNN.
struct Slice {
  int64_t start, columns;
  std::shared_ptr<const Product> product;
  unsigned char* packed;
};

// Slices of the vocabulary. Forward multiplies by weights^T, backward by the weights themselves.
template <typename T>
std::vector<Slice> MakeSlices(const Cpu& cpu, const OutputProjectionShape& shape,
                              const float* weights, bool backward, bool bias) {
  const int64_t hidden = shape.hidden_size;
  std::vector<Slice> slices(Blocks(shape.vocab_size, kSliceColumns));
  for (size_t i = 0; i < slices.size(); ++i) {
    Slice& slice = slices[i];
    slice.start = i * kSliceColumns;
    slice.columns = std::min(kSliceColumns, shape.vocab_size - slice.start);
    if (backward) {
      // Sums over slices stay in float32.
      slice.product =
          Product::Get({kBlockRows, slice.columns, hidden, slice.columns, 1, 0, 0, hidden,
                        kDataType<T>, DataType::f32, false, /*accumulate=*/i > 0});
    } else {
      slice.product = Product::Get({kBlockRows, hidden, slice.columns, hidden, 1, 0, 0,
                                    slice.columns, kDataType<T>, kDataType<T>, bias, false});
    }
    slice.packed = cpu.arena->Allocate<unsigned char>(slice.product->packed_bytes());
  }
  cpu.threads->ParallelFor(slices.size(), kSliceColumns * hidden, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const start = weights + slices[i].start * hidden;
      slices[i].product->Pack(start, backward ? hidden : 1, backward ? 1 : hidden,
                              slices[i].packed);
    }
  });
  return slices;
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

// x in whole blocks of rows: the last block may need rows that x does not have.
template <typename T>
const T* WholeBlocks(const Cpu& cpu, const OutputProjectionShape& shape, const T* x) {
  if (shape.rows % kBlockRows == 0) return x;
  const int64_t count = shape.rows * shape.hidden_size;
  const int64_t whole = Blocks(shape.rows, kBlockRows) * kBlockRows * shape.hidden_size;
  T* const copy = cpu.arena->Allocate<T>(whole);
  std::copy(x, x + count, copy);
  std::fill(copy + count, copy + whole, T{});
  return copy;
}

template <typename T>
void Forward(const Cpu& cpu, const OutputProjectionShape& shape, const T* x, const float* weights,
             const float* bias, T* logits) {
  const ArenaScope scope(cpu.arena);
  const T* const whole_x = WholeBlocks(cpu, shape, x);
  const std::vector<Slice> slices =
      MakeSlices<T>(cpu, shape, weights, /*backward=*/false, bias != nullptr);
  const int64_t blocks = Blocks(shape.rows, kBlockRows);
  const int64_t cost =
      ProductCycles(kBlockRows, shape.hidden_size, std::min(kSliceColumns, shape.vocab_size));
  cpu.threads->ParallelFor(blocks * slices.size(), cost, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Slice& slice =
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
  const std::vector<Slice> slices =
      MakeSlices<T>(cpu, shape, weights, /*backward=*/true, /*bias=*/false);
  const int64_t hidden = shape.hidden_size;
  const int64_t cost = ProductCycles(kBlockRows, hidden, shape.vocab_size);
  cpu.threads->ParallelFor(Blocks(shape.rows, kBlockRows), cost, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlockRows;
      float* const sum = ThreadBuffer<21>(kBlockRows * hidden);
      for (const Slice& slice : slices) {
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
