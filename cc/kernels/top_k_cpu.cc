#include <algorithm>
#include <cmath>
#include <limits>

#include "cc/kernels/log_add_exp.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_math.h"
#include "cc/kernels/top_k.h"

namespace tf_ls {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Numbers of a row that are summed at once, and that are compared at once.
constexpr int64_t kPiece = 1024;
constexpr int64_t kBlock = 128;
constexpr int64_t kCycles = 2;  // a number

struct Word {
  float logit;
  int32_t id;

  bool IsBetterThan(const Word& other) const {
    return logit > other.logit || (logit == other.logit && id < other.id);
  }
};

bool IsBetter(const Word& a, const Word& b) { return a.IsBetterThan(b); }

// The k best words so far, among others: the others go when there are as many.
class Best {
 public:
  explicit Best(int64_t k) : k_(k) {}

  // Nothing up to this is among the k best of words in the order of ids.
  bool Excludes(float logit) const { return full_ && logit <= worst_; }

  void Add(const Word& word) { words_[count_++] = word; }

  // Up to kBlock words, of which none is NaN.
  void Add(const float* logits, int64_t n, int64_t first) {
    if (!full_) {
      for (int64_t i = 0; i < n; ++i) Add({logits[i], static_cast<int32_t>(first + i)});
      return Drop();
    }
    int32_t found[kBlock];
    const int64_t count = row::IndicesAbove(logits, n, worst_, found);
    for (int64_t i = 0; i < count; ++i) {
      Add({logits[found[i]], static_cast<int32_t>(first + found[i])});
    }
    if (count_ >= 2 * k_) Drop();
  }

  // Leaves the k best at most.
  void Drop() {
    if (count_ < k_) return;
    std::nth_element(words_, words_ + k_ - 1, words_ + count_, IsBetter);
    count_ = k_;
    worst_ = words_[k_ - 1].logit;
    full_ = true;
  }

  void Write(float* logits, int32_t* ids) {
    Drop();
    std::sort(words_, words_ + count_, IsBetter);
    for (int64_t i = 0; i < k_; ++i) {
      logits[i] = i < count_ ? words_[i].logit : -kInfinity;
      ids[i] = i < count_ ? words_[i].id : -1;
    }
  }

 private:
  const int64_t k_;
  Word words_[2 * kMostOfTopK + kBlock];
  int64_t count_ = 0;
  bool full_ = false;
  float worst_ = 0.0f;  // if full
};

void RunRow(const LogitColumns& columns, const TopWords& words, int64_t row) {
  const float* const logits = columns.logits + row * columns.stride;
  float* const best_logits = words.logits + row * words.k;
  int32_t* const best_ids = words.ids + row * words.k;
  double log_sum = -kInfinity;
  Best best(words.k);
  if (!columns.AreFirst()) {
    log_sum = words.log_sums[row];
    for (int64_t i = 0; i < words.k && best_ids[i] >= 0; ++i) {
      best.Add({best_logits[i], best_ids[i]});
    }
    best.Drop();
  }
  for (int64_t start = 0; start < columns.count && !std::isnan(log_sum); start += kPiece) {
    const int64_t n = std::min(kPiece, columns.count - start);
    float top, exp_sum, below_sum;
    row::SumsBelowTop(logits + start, n, &top, &exp_sum, &below_sum);
    if (top == std::numeric_limits<float>::lowest()) exp_sum = 0.0f;  // all are minus infinity
    log_sum = LogAddExp(log_sum, top + std::log(static_cast<double>(exp_sum)));
    if (std::isnan(log_sum) || best.Excludes(top)) continue;
    for (int64_t i = start; i < start + n; i += kBlock) {
      best.Add(logits + i, std::min(kBlock, start + n - i), columns.first + i);
    }
  }
  if (std::isnan(log_sum) || (columns.AreLast() && log_sum == -kInfinity)) {
    log_sum = kNaN;
    std::fill(best_logits, best_logits + words.k, kNaN);
    std::fill(best_ids, best_ids + words.k, -1);
  } else {
    best.Write(best_logits, best_ids);
  }
  words.log_sums[row] = log_sum;
}

}  // namespace

void TopK(const Cpu& cpu, const LogitColumns& columns, const TopWords& words) {
  CheckTopK(words.k);
  ForEachRow(cpu, columns.rows, columns.count, kCycles,
             [&](int64_t row) { RunRow(columns, words, row); });
  for (int64_t row = 0; row < columns.rows; ++row) {
    if (!std::isnan(words.log_sums[row])) continue;
    if (*words.bad_row < 0 || row < *words.bad_row) *words.bad_row = row;
    break;
  }
}

}  // namespace tf_ls
