#include <algorithm>
#include <cmath>
#include <vector>

#include "cc/kernels/cast.h"
#include "cc/kernels/cross_entropy_row.h"
#include "cc/kernels/onednn_matmul.h"
#include "cc/kernels/projected_cross_entropy.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/vocabulary_slices.h"

namespace tf_ls {
namespace {

using onednn::kDataType;
using onednn::Product;
using onednn::ProductCycles;
using DataType = dnnl::memory::data_type;

// Rows that are summed into the gradient of the weights at once: whatever the number of threads,
// the same ones.
constexpr int64_t kGradientRows = 256;
constexpr int64_t kGradientColumns = 256;
// What logits may take, so that they stay in the last-level cache, unless the vocabulary is so
// large that this would be less than kGradientRows.
constexpr int64_t kLogitsBytes = 16 << 20;

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Logits of some hundred rows at a time and what is made of them. Where the gradient is wanted, the
// logits of a row become it in place, as T.
template <typename T>
class Projector {
 public:
  Projector(const Cpu& cpu, const OutputProjectionShape& shape, const CrossEntropyTargets& targets,
            const T* x, const float* weights, const float* bias, float* losses, float* nlls,
            const ProjectionGradient* gradient)
      : cpu_(cpu),
        shape_(shape),
        targets_(targets),
        target_(targets.smoothing, shape.vocab_size),
        // An odd number of cache lines, or a column of the logits would fall into few of the
        // cache's sets.
        stride_(RoundUp(shape.vocab_size, 32) + 16),
        x_(WholeBlocks(cpu, x, shape.rows, shape.hidden_size)),
        bias_(bias),
        losses_(losses),
        nlls_(nlls),
        gradient_(gradient),
        slices_(LogitSlices(cpu, shape.hidden_size, shape.vocab_size, weights, bias != nullptr,
                            stride_, kDataType<T>, DataType::f32)) {
    if (gradient != nullptr) {
      gradient_slices_ = InputGradientSlices(cpu, shape.hidden_size, shape.vocab_size, weights,
                                             kGradientStride * stride_, kDataType<T>);
    }
  }

  void Run() {
    const int64_t most =
        std::max(kGradientRows, kLogitsBytes / static_cast<int64_t>(sizeof(float)) / stride_ /
                                    kGradientRows * kGradientRows);
    const int64_t rows_at_once = std::min(most, RoundUp(shape_.rows, kBlockRows));
    logits_ = cpu_.arena->Allocate<float>(rows_at_once * stride_);
    const int64_t cost = ProductCycles(kBlockRows, shape_.hidden_size, shape_.vocab_size);
    for (int64_t first = 0; first < shape_.rows; first += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, shape_.rows - first);
      cpu_.threads->ParallelFor(RoundUp(rows, kBlockRows) / kBlockRows, cost,
                                [&](int64_t begin, int64_t end) {
                                  for (int64_t block = begin; block < end; ++block)
                                    RunBlock(first, block);
                                });
      if (gradient_ != nullptr) AddWeightGradient(first, rows);
    }
  }

 private:
  // How many T a float's place has.
  static constexpr int64_t kGradientStride = sizeof(float) / sizeof(T);

  T* RowGradient(int64_t row) const { return reinterpret_cast<T*>(logits_ + row * stride_); }

  void RunBlock(int64_t first, int64_t block) const {
    const int64_t start = block * kBlockRows;  // in the logits
    float* const logits = logits_ + start * stride_;
    for (const VocabularySlice& slice : slices_) {
      slice.product->Run(x_ + (first + start) * shape_.hidden_size, slice.packed,
                         bias_ == nullptr ? nullptr : bias_ + slice.start, logits + slice.start);
    }
    for (int64_t i = 0; i < kBlockRows; ++i) RunRow(first + start + i, start + i);
    if (gradient_ != nullptr) InputGradient(first + start, start);
  }

  void RunRow(int64_t row, int64_t place) const {
    float* const logits = logits_ + place * stride_;
    const int64_t position = row < shape_.rows ? shape_.indices[row] : -1;
    const float weight = position < 0 ? 0.0f : targets_.weights[position];
    if (weight == 0.0f) {
      T* const start = RowGradient(place);
      if (gradient_ != nullptr) std::fill(start, start + shape_.vocab_size, T{});
      return;
    }
    const int32_t label = targets_.labels[position];
    const RowLoss loss = LossOfRow(logits, shape_.vocab_size, label, target_);
    losses_[position] = static_cast<float>(weight * loss.loss);
    nlls_[position] = static_cast<float>(weight * loss.nll);
    if (gradient_ == nullptr) return;
    GradientOfRow(logits, shape_.vocab_size, label, target_, loss.top, loss.exp_sum,
                  weight * (gradient_->dlosses == nullptr ? 1.0f : gradient_->dlosses[position]),
                  weight * (gradient_->dnlls == nullptr ? 0.0f : gradient_->dnlls[position]),
                  RowGradient(place));
  }

  void InputGradient(int64_t first, int64_t start) const {
    const int64_t hidden = shape_.hidden_size;
    float* const sum = ThreadBuffer<21>(kBlockRows * hidden);
    for (const VocabularySlice& slice : gradient_slices_) {
      slice.product->Run(RowGradient(start) + slice.start, slice.packed, nullptr, sum);
    }
    const int64_t rows = std::min(kBlockRows, shape_.rows - first);
    std::copy(sum, sum + rows * hidden, gradient_->dx + first * hidden);
  }

  void AddWeightGradient(int64_t first, int64_t rows) const {
    const int64_t tasks = RoundUp(shape_.vocab_size, kGradientColumns) / kGradientColumns;
    const int64_t cost = ProductCycles(rows, shape_.hidden_size, kGradientColumns);
    cpu_.threads->ParallelFor(tasks, cost, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t column = task * kGradientColumns;
        const int64_t columns = std::min(kGradientColumns, shape_.vocab_size - column);
        AddColumns(first, rows, column, columns);
      }
    });
  }

  void AddColumns(int64_t first, int64_t rows, int64_t column, int64_t columns) const {
    const int64_t hidden = shape_.hidden_size;
    for (int64_t start = 0; start < rows; start += kGradientRows) {
      const int64_t k = std::min(kGradientRows, rows - start);
      const auto product = Product::Get({columns, k, hidden, 1, kGradientStride * stride_, hidden,
                                         1, hidden, kDataType<T>, DataType::f32, false,
                                         /*accumulate=*/first + start > 0});
      product->Run(RowGradient(start) + column, x_ + (first + start) * hidden, nullptr,
                   gradient_->dweights + column * hidden);
    }
    if (gradient_->dbias == nullptr) return;
    float* const dbias = gradient_->dbias + column;
    if (first == 0) std::fill(dbias, dbias + columns, 0.0f);
    for (int64_t i = 0; i < rows; ++i) {
      row::Add(dbias, ReadRow(RowGradient(i) + column, columns, ThreadBuffer<21>(columns)), columns,
               dbias);
    }
  }

  const Cpu& cpu_;
  const OutputProjectionShape& shape_;
  const CrossEntropyTargets& targets_;
  const SmoothedLabel target_;
  const int64_t stride_;  // of the logits' rows
  const T* const x_;
  const float* const bias_;
  float* const losses_;
  float* const nlls_;
  const ProjectionGradient* const gradient_;
  const std::vector<VocabularySlice> slices_;
  std::vector<VocabularySlice> gradient_slices_;
  float* logits_ = nullptr;
};

// The loss where no row belongs, whose logits are zero; rows overwrite theirs.
void LossOfZeros(const CrossEntropyTargets& targets, float* losses, float* nlls) {
  const double chance = std::log(static_cast<double>(targets.vocab_size));
  const double entropy = SmoothedLabel(targets.smoothing, targets.vocab_size).entropy;
  for (int64_t i = 0; i < targets.rows; ++i) {
    losses[i] = static_cast<float>(targets.weights[i] * (chance - entropy));
    nlls[i] = static_cast<float>(targets.weights[i] * chance);
  }
}

template <typename T>
void Run(const Cpu& cpu, const OutputProjectionShape& shape, const CrossEntropyTargets& targets,
         const T* x, const float* weights, const float* bias, float* losses, float* nlls,
         const ProjectionGradient* gradient) {
  const ArenaScope scope(cpu.arena);
  LossOfZeros(targets, losses, nlls);
  if (shape.rows > 0) {
    Projector<T>(cpu, shape, targets, x, weights, bias, losses, nlls, gradient).Run();
  } else if (gradient != nullptr) {
    std::fill(gradient->dweights, gradient->dweights + shape.vocab_size * shape.hidden_size, 0.0f);
    if (gradient->dbias != nullptr)
      std::fill(gradient->dbias, gradient->dbias + shape.vocab_size, 0.0f);
  }
}

}  // namespace

template <>
void ProjectedCrossEntropy(const Cpu& cpu, const OutputProjectionShape& shape,
                           const CrossEntropyTargets& targets, const float* x, const float* weights,
                           const float* bias, float* losses, float* nlls,
                           const ProjectionGradient* gradient) {
  Run(cpu, shape, targets, x, weights, bias, losses, nlls, gradient);
}

template <>
void ProjectedCrossEntropy(const Cpu& cpu, const OutputProjectionShape& shape,
                           const CrossEntropyTargets& targets, const bfloat16* x,
                           const float* weights, const float* bias, float* losses, float* nlls,
                           const ProjectionGradient* gradient) {
  if (onednn::HasBfloat16()) {
    return Run(cpu, shape, targets, x, weights, bias, losses, nlls, gradient);
  }
  const ArenaScope scope(cpu.arena);
  Run(cpu, shape, targets, Widen(cpu, x, shape.rows * shape.hidden_size), weights, bias, losses,
      nlls, gradient);
}

}  // namespace tf_ls
