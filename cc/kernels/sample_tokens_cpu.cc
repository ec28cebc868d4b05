#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cc/kernels/log_add_exp.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_math.h"
#include "cc/kernels/sample_tokens.h"
#include "cc/kernels/sampling_draw.h"
#include "cc/kernels/top_k.h"

namespace tf_ls {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

constexpr int64_t kPiece = 1024;  // numbers of a row whose sum is float32
constexpr int64_t kBlock = 256;   // tokens that get their noise at once
constexpr int64_t kFew = 512;     // words that are rather sorted than counted again
constexpr int64_t kCycles = 10;   // a number
constexpr int64_t kCyclesOfNoise = 100;

struct Word {
  float logit;
  int32_t id;

  bool IsWorseThan(const Word& other) const {
    return logit < other.logit || (logit == other.logit && id > other.id);
  }
};

// Worse than any word.
constexpr Word kNoWord = {-kInfinity, std::numeric_limits<int32_t>::max()};

// The largest sum so far.
struct Winner {
  double sum = -kInfinity;
  Word word = kNoWord;

  void Meet(double other, const Word& its) {
    if (other > sum) *this = {other, its};
  }
};

bool IsExcluded(const ExcludedTokens& excluded, int64_t row, int32_t token) {
  if (excluded.begins == nullptr) return false;
  const int32_t* const end = excluded.tokens + excluded.ends[row];
  return std::find(excluded.tokens + excluded.begins[row], end, token) != end;
}

void Write(const SampledTokens& out, int64_t row, const Word& word, double log_sum) {
  const bool drawn = word.logit > -kInfinity;
  out.tokens[row] = drawn ? word.id : -1;
  out.log_probs[row] = drawn ? static_cast<float>(word.logit - log_sum) : -kInfinity;
}

void WriteBad(const SampledTokens& out, int64_t row) {
  out.tokens[row] = -1;
  out.log_probs[row] = kNaN;
}

// --- From the best words, which TopK has found

// words: [count], best first. Leaves those that one may draw from.
int64_t DropImprobable(const SamplingDraw& draw, Word* words, int64_t count) {
  if (draw.top_k > 0) count = std::min(count, draw.top_k);
  if (draw.top_p == 1.0) return count;
  double weights[kMostOfTopK];
  double all = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    weights[i] =
        std::exp((static_cast<double>(words[i].logit) - words[0].logit) / draw.temperature);
    all += weights[i];
  }
  int64_t left = 0;
  for (double sum = 0.0; left < count && sum < draw.top_p * all; ++left) {
    sum += weights[left];
  }
  return left;
}

void DrawFromBest(const SamplingDraw& draw, const SampledRows& in, const TopWords& best,
                  int64_t row, const SampledTokens& out) {
  if (std::isnan(best.log_sums[row])) return WriteBad(out, row);
  Word words[kMostOfTopK];
  int64_t count = 0;
  for (int64_t i = row * best.k; i < (row + 1) * best.k; ++i) {
    const Word word = {best.logits[i], best.ids[i]};
    if (word.logit == -kInfinity) break;
    if (!IsExcluded(in.excluded, row, word.id)) words[count++] = word;
  }
  count = DropImprobable(draw, words, count);
  Winner winner;
  for (int64_t i = 0; i < count; ++i) {
    const double noise = GumbelNoise(draw.keys, in.counters[row], words[i].id);
    winner.Meet(draw.Sum(words[i].logit, words[0].logit, noise), words[i]);
  }
  Write(out, row, winner.word, best.log_sums[row]);
}

// --- From the whole row

// Takes excluded tokens out of a row; returns log(sum(exp(their logits))).
double Exclude(const ExcludedTokens& excluded, int64_t row, float* logits) {
  double log_sum = -kInfinity;
  if (excluded.begins == nullptr) return log_sum;
  for (int32_t i = excluded.begins[row]; i < excluded.ends[row]; ++i) {
    float& logit = logits[excluded.tokens[i]];
    log_sum = LogAddExp(log_sum, logit);
    logit = -kInfinity;
  }
  return log_sum;
}

// log(sum(exp(logits))) and the largest.
double LogSum(const float* logits, int64_t n, float* largest) {
  double log_sum = -kInfinity;
  *largest = -kInfinity;
  for (int64_t start = 0; start < n; start += kPiece) {
    float top, exp_sum, below_sum;
    row::SumsBelowTop(logits + start, std::min(kPiece, n - start), &top, &exp_sum, &below_sum);
    if (top == std::numeric_limits<float>::lowest()) exp_sum = 0.0f;  // all are minus infinity
    log_sum = LogAddExp(log_sum, top + std::log(static_cast<double>(exp_sum)));
    *largest = std::max(*largest, top);
  }
  return log_sum;
}

// The best word of which it and all better ones weigh at least `wanted`, which is not more than all
// weigh together. `top` is the largest logit.
Word LastOf(const float* logits, const float* weights, int64_t n, float top, double wanted) {
  // It is above `low` and not above `high`.
  float low = -kInfinity, high = top;
  row::Amount above_low = {n, 0.0}, above_high = {0, 0.0};
  for (float step = 1.0f; above_low.count - above_high.count > kFew; step *= 4.0f) {
    const float middle = low == -kInfinity ? top - step : 0.5f * low + 0.5f * high;
    if (!(low < middle && middle < high)) break;
    const row::Amount above = row::AmountAbove(logits, weights, n, middle);
    (above.sum >= wanted ? low : high) = middle;
    (above.sum >= wanted ? above_low : above_high) = above;
  }
  std::vector<Word> between;
  int32_t found[kPiece];
  for (int64_t start = 0; start < n; start += kPiece) {
    const int64_t count =
        row::IndicesAbove(logits + start, std::min(kPiece, n - start), low, found);
    for (int64_t i = 0; i < count; ++i) {
      const auto id = static_cast<int32_t>(start + found[i]);
      if (logits[id] <= high) between.push_back({logits[id], id});
    }
  }
  std::sort(between.begin(), between.end(),
            [](const Word& a, const Word& b) { return b.IsWorseThan(a); });
  double sum = above_high.sum;
  for (const Word& word : between) {
    sum += weights[word.id];
    if (sum >= wanted) return word;
  }
  return between.back();  // nothing is missing but what has been rounded away
}

// The worst word that top_k and top_p leave.
Word Limit(const SamplingDraw& draw, const float* logits, int64_t n, float top) {
  const int64_t k = draw.top_k;
  const bool has_top_k = k > 0 && k < n;
  const bool has_top_p = draw.top_p < 1.0;
  Word limit = kNoWord;
  if (!has_top_k && !has_top_p) return limit;
  float* const weights = ThreadBuffer<24>(n);
  if (has_top_k) {
    std::fill(weights, weights + n, 1.0f);
    if (row::AmountAbove(logits, weights, n, -kInfinity).count > k) {
      limit = LastOf(logits, weights, n, top, static_cast<double>(k));
    }
  }
  if (has_top_p) {
    row::ExpBelow(logits, top, draw.factor, n, weights);
    for (int64_t i = 0; limit.logit > -kInfinity && i < n; ++i) {
      if (Word{logits[i], static_cast<int32_t>(i)}.IsWorseThan(limit)) weights[i] = 0.0f;
    }
    const double all = row::AmountAbove(logits, weights, n, -kInfinity).sum;
    const Word last = LastOf(logits, weights, n, top, draw.top_p * all);
    if (limit.IsWorseThan(last)) limit = last;
  }
  return limit;
}

// The winner of those that are not worse than `limit`.
Word DrawAbove(const SamplingDraw& draw, const SampleCounter& counter, const float* logits,
               int64_t n, float top, const Word& limit) {
  const float below = std::nextafter(limit.logit, -kInfinity);
  Winner winner;
  int32_t found[kBlock];
  // Short blocks first: without a bound there is noise for all of them.
  for (int64_t start = 0, count; start < n; start += count) {
    count = std::min(std::min(std::max<int64_t>(start, 16), kBlock), n - start);
    const float* const block = logits + start;
    if (limit.logit > -kInfinity && row::IndicesAbove(block, count, below, found) == 0) continue;
    const int64_t few = row::MayExceed(draw.keys, counter, start, block, count, top, draw.factor,
                                       winner.sum, found);
    for (int64_t i = 0; i < few; ++i) {
      const Word word = {block[found[i]], static_cast<int32_t>(start + found[i])};
      if (word.logit == -kInfinity || word.IsWorseThan(limit)) continue;
      winner.Meet(draw.Sum(word.logit, top, GumbelNoise(draw.keys, counter, word.id)), word);
    }
  }
  return winner.word;
}

void DrawFromRow(const SamplingDraw& draw, const SampledRows& in, int64_t row,
                 const SampledTokens& out) {
  const int64_t n = in.vocab_size;
  float* const logits = in.logits + row * n;
  const double of_excluded = Exclude(in.excluded, row, logits);
  float top;
  const double of_others = LogSum(logits, n, &top);
  const double log_sum = LogAddExp(of_others, of_excluded);
  if (!std::isfinite(log_sum)) return WriteBad(out, row);
  if (of_others == -kInfinity) return Write(out, row, kNoWord, log_sum);
  const Word limit = Limit(draw, logits, n, top);
  Write(out, row, DrawAbove(draw, in.counters[row], logits, n, top, limit), log_sum);
}

}  // namespace

void SampleTokens(const Cpu& cpu, const SamplingOptions& options, const SampledRows& in,
                  const SampledTokens& out) {
  CheckSampling(options);
  const SamplingDraw draw(options);
  if (TopKIsEnough(options, in.excluded)) {
    const ArenaScope scope(cpu.arena);
    const TopWords best = BestWords(cpu, options.top_k + in.excluded.most, in, out.bad_row);
    ForEachRow(cpu, in.rows, best.k, kCyclesOfNoise,
               [&](int64_t row) { DrawFromBest(draw, in, best, row, out); });
    return;
  }
  ForEachRow(cpu, in.rows, in.vocab_size, kCycles,
             [&](int64_t row) { DrawFromRow(draw, in, row, out); });
  for (int64_t row = 0; row < in.rows; ++row) {
    if (!std::isnan(out.log_probs[row])) continue;
    if (*out.bad_row < 0 || row < *out.bad_row) *out.bad_row = row;
    break;
  }
}

}  // namespace tf_ls
