#ifndef TF_LS_CC_KERNELS_CROSS_ENTROPY_ROW_H_
#define TF_LS_CC_KERNELS_CROSS_ENTROPY_ROW_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cc/kernels/row_access.h"
#include "cc/kernels/row_math.h"
#include "cc/kernels/smoothed_label.h"

// The cross entropy of one row of logits, for the kernels that are given them and those that make
// them.
namespace tf_ls {

struct RowLoss {
  double loss, nll;
  float top, exp_sum;  // softmax(x) = exp(x - top) / exp_sum
};

// Numbers of a row that are worked on at once.
constexpr int64_t kPiece = 1024;

// Sums within a piece are float32, those over pieces double: their error does not grow with the
// vocabulary.
template <typename T>
RowLoss LossOfRow(const T* logits, int64_t vocab_size, int32_t label, const SmoothedLabel& target) {
  double top = -std::numeric_limits<double>::infinity();
  double exp_sum = 0.0;
  double sum = 0.0;
  for (int64_t start = 0; start < vocab_size; start += kPiece) {
    const int64_t n = std::min(kPiece, vocab_size - start);
    float piece_top, piece_exp_sum, piece_below;
    row::SumsBelowTop(ReadRow(logits + start, n, ThreadBuffer<22>(kPiece)), n, &piece_top,
                      &piece_exp_sum, &piece_below);
    if (piece_top > top) {
      exp_sum = exp_sum * std::exp(top - piece_top) + piece_exp_sum;
      top = piece_top;
    } else {
      exp_sum += piece_exp_sum * std::exp(piece_top - top);
    }
    sum += piece_below + static_cast<double>(n) * piece_top;
  }
  const double label_below = ToFloat(logits[label]) - top;
  const double log_sum = std::log(exp_sum);
  double expectation = target.confidence * label_below;
  if (target.other > 0.0) {  // or 0 * infinity would be NaN
    expectation += target.other * (sum - static_cast<double>(vocab_size) * top - label_below);
  }
  return {log_sum - expectation - target.entropy, log_sum - label_below, static_cast<float>(top),
          static_cast<float>(exp_sum)};
}

// dlogits = dloss * (softmax - target) + dnll * (softmax - one-hot). dlogits may begin where logits
// do, of a narrower type too.
template <typename T, typename Out>
void GradientOfRow(const T* logits, int64_t vocab_size, int32_t label, const SmoothedLabel& target,
                   float top, float exp_sum, float dloss, float dnll, Out* dlogits) {
  const float scale = (dloss + dnll) / exp_sum;
  const float offset = dloss * static_cast<float>(target.other);
  float at_label = scale * std::exp(ToFloat(logits[label]) - top) -
                   (dloss * static_cast<float>(target.confidence) + dnll);
  for (int64_t start = 0; start < vocab_size; start += kPiece) {
    const int64_t n = std::min(kPiece, vocab_size - start);
    float* const buffer = ThreadBuffer<22>(kPiece);
    const float* const in = ReadRow(logits + start, n, buffer);
    float* const out = RowTarget(dlogits + start, buffer);
    row::ScaledExpMinus(in, top, scale, offset, n, out);
    WriteRow(out, n, dlogits + start);
  }
  float* const out = RowTarget(dlogits + label, &at_label);
  *out = at_label;
  WriteRow(out, 1, dlogits + label);
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CROSS_ENTROPY_ROW_H_
