#include "cc/kernels/sample_tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cc/kernels/top_k.h"
#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Identical;
using test::Random;
using test::TestedDevice;
using test::Testing;
using test::Unwritten;

using Instance = Testing<TestedDevice>::Instance;
template <typename T>
using Numbers = Testing<TestedDevice>::Numbers<T>;
using TokensOfRows = std::vector<std::vector<int32_t>>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr uint64_t kSeed = 0x123456789abcdef;

struct Rows {
  int64_t vocab_size;
  std::vector<float> logits;            // [rows, vocab_size]
  std::vector<SampleCounter> counters;  // [rows]
  TokensOfRows excluded = {};           // of each row; empty: null pointers

  int64_t count() const { return counters.size(); }
};

// Rows with the same logits are different draws.
Rows MakeRows(int64_t vocab_size, std::vector<float> logits) {
  Rows rows = {vocab_size, std::move(logits), {}};
  for (uint32_t i = 0; i < rows.logits.size() / vocab_size; ++i) {
    rows.counters.push_back({i % 7, i % 3, i});
  }
  return rows;
}
Rows RandomRows(int64_t count, int64_t vocab_size, uint32_t seed, double limit = 6.0) {
  return MakeRows(vocab_size, Random<float>(count * vocab_size, seed, limit));
}

struct Result {
  std::vector<int32_t> tokens;
  std::vector<float> log_probs;
  int64_t bad_row;
};

Result Sample(const SamplingOptions& options, const Rows& rows, int threads = 2) {
  const Instance device(threads);
  Numbers<float> logits(rows.logits);
  const Numbers<SampleCounter> counters(rows.counters);
  std::vector<int32_t> begins, ends, all;
  int64_t most = 0;
  for (const auto& tokens : rows.excluded) {
    begins.push_back(all.size());
    all.insert(all.end(), tokens.begin(), tokens.end());
    ends.push_back(all.size());
    most = std::max<int64_t>(most, tokens.size());
  }
  const Numbers<int32_t> device_begins(begins), device_ends(ends), device_all(all);
  ExcludedTokens excluded;
  if (!rows.excluded.empty()) {
    excluded = {device_begins.data(), device_ends.data(), device_all.data(), most};
  }
  Numbers<int32_t> tokens(std::vector<int32_t>(rows.count(), -7));
  Numbers<float> log_probs(Unwritten<float>(rows.count()));
  Numbers<int64_t> bad_row(std::vector<int64_t>{-1});
  SampleTokens(static_cast<const TestedDevice&>(device), options,
               {rows.count(), rows.vocab_size, logits.data(), counters.data(), excluded},
               {tokens.data(), log_probs.data(), bad_row.data()});
  return {tokens.host(), log_probs.host(), bad_row.host()[0]};
}

// As tf_ls/testing/reference_search.py does it.
double Noise(uint64_t seed, const SampleCounter& counter, int32_t token) {
  uint32_t words[4] = {static_cast<uint32_t>(token / 4), counter.position, counter.sample,
                       counter.sentence};
  Philox::Generate(seed, words);
  return -std::log(-std::log1p(-(words[token % 4] + 0.5) / std::pow(2.0, 32)));
}

struct Distribution {
  std::vector<int32_t> tokens;  // with a probability, the most probable first
  std::vector<double> probs;
  double log_sum;
  size_t fewest, most;  // how many there are with other roundings of the sum that top_p cuts
};

Distribution DistributionOf(const SamplingOptions& options, const Rows& rows, int64_t row) {
  const float* const x = &rows.logits[row * rows.vocab_size];
  Distribution result;
  const double top = *std::max_element(x, x + rows.vocab_size);
  double sum = 0.0;
  for (int64_t j = 0; j < rows.vocab_size; ++j) sum += std::exp(x[j] - top);
  result.log_sum = top + std::log(sum);

  auto& tokens = result.tokens;
  for (int32_t j = 0; j < rows.vocab_size; ++j) {
    const bool excluded = !rows.excluded.empty() &&
                          std::count(rows.excluded[row].begin(), rows.excluded[row].end(), j);
    if (!excluded && x[j] > -kInfinity) tokens.push_back(j);
  }
  std::stable_sort(tokens.begin(), tokens.end(), [&](int32_t a, int32_t b) { return x[a] > x[b]; });
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(tokens.size())) {
    tokens.resize(options.top_k);
  }
  double all = 0.0;
  for (const int32_t token : tokens) {
    result.probs.push_back(
        std::exp((x[token] - static_cast<double>(x[tokens[0]])) / options.temperature));
    all += result.probs.back();
  }
  const auto left = [&](double p) {
    size_t count = 0;
    for (double mass = 0.0; count < tokens.size() && mass < p * all; ++count) {
      mass += result.probs[count];
    }
    return count;
  };
  const bool has_top_p = options.top_p < 1.0;
  const size_t count = has_top_p ? left(options.top_p) : tokens.size();
  result.fewest = has_top_p ? std::max(left(options.top_p - 1e-5), size_t{1}) : count;
  result.most = has_top_p ? left(options.top_p + 1e-5) : count;
  tokens.resize(result.most);
  result.probs.resize(result.most);
  const double of_left = std::accumulate(result.probs.begin(), result.probs.begin() + count, 0.0);
  for (double& prob : result.probs) prob /= of_left;
  return result;
}

void Check(SamplingOptions options, const Rows& rows) {
  SCOPED_TRACE(::testing::Message()
               << rows.count() << " rows of " << rows.vocab_size << ", T " << options.temperature
               << ", k " << options.top_k << ", p " << options.top_p);
  options.seed = kSeed;
  const Result result = Sample(options, rows);
  EXPECT_EQ(result.bad_row, -1);
  for (int64_t row = 0; row < rows.count(); ++row) {
    SCOPED_TRACE(row);
    const Distribution from = DistributionOf(options, rows, row);
    const int32_t token = result.tokens[row];
    double best = -kInfinity;
    int32_t drawn = -1;
    bool is_right = token == -1 && from.tokens.empty();
    for (size_t i = 0; i < from.tokens.size(); ++i) {
      const double value =
          std::log(from.probs[i]) + Noise(kSeed, rows.counters[row], from.tokens[i]);
      if (value > best || (value == best && from.tokens[i] < drawn)) {
        best = value;
        drawn = from.tokens[i];
      }
      if (i + 1 >= from.fewest) is_right |= token == drawn;
    }
    EXPECT_TRUE(is_right) << token << " instead of " << drawn;
    if (token < 0) {
      EXPECT_EQ(result.log_probs[row], -kInfinity);
    } else {
      const double expected = rows.logits[row * rows.vocab_size + token] - from.log_sum;
      EXPECT_NEAR(result.log_probs[row], expected, 5e-6 + 1e-7 * std::fabs(expected));
    }
  }
}

SamplingOptions Options(double temperature, int64_t top_k, double top_p, uint64_t seed = 0) {
  return {temperature, top_k, top_p, seed};
}

// All ways through the kernel: nothing, few or many of the best, with top_p or without.
const SamplingOptions kWays[] = {
    Options(1.0, 0, 1.0),   Options(0.7, 0, 1.0),   Options(1.3, 5, 1.0), Options(1.0, 128, 1.0),
    Options(1.0, 129, 1.0), Options(0.8, 900, 1.0), Options(1.0, 0, 0.9), Options(2.0, 0, 0.3),
    Options(1.5, 50, 0.7),  Options(1.2, 600, 0.95)};

// By the function of that name in tf_ls/testing/reference_search.py.
TEST(GumbelNoiseTest, IsThatOfTheReference) {
  const Philox::RoundKeys keys(kSeed);
  const SampleCounter counter = {/*position=*/5, /*sample=*/2, /*sentence=*/3};
  const double expected[] = {-0.6422035927381751, 1.227175815928582, 0.4004336430652352,
                             0.15207174372000112, 2.776317927809487};
  for (int token = 0; token < 5; ++token) {
    EXPECT_NEAR(GumbelNoise(keys, counter, token), expected[token], 1e-14);
  }
  EXPECT_NEAR(GumbelNoise(keys, counter, 31999), -1.5603528008569665, 1e-14);
}

TEST(GumbelNoiseTest, IsFiniteForEveryWord) {
  EXPECT_NEAR(GumbelOfWord(0), 33.0 * std::log(2.0), 1e-10);
  EXPECT_NEAR(GumbelOfWord(0xffffffffu), -std::log(33.0 * std::log(2.0)), 1e-12);
}

TEST(SampleTokensTest, DrawsWhatTheReferenceDraws) {
  for (const SamplingOptions& options : kWays) {
    for (const int64_t n : {1, 2, 3, 5, 127, 130, 1000, 4097}) {
      Check(options, RandomRows(12, n, n + 1));
    }
  }
}

TEST(SampleTokensTest, DrawsFromAVocabulary) {
  for (const SamplingOptions& options : kWays) {
    Check(options, RandomRows(3, 32003, 4, 12.0));
  }
  for (const int64_t k : {0, 8, 1000}) Check(Options(0.9, k, 1.0), RandomRows(1, 250001, 5, 12.0));
}

TEST(SampleTokensTest, DrawsFromUnlikeLogits) {
  // One far above all others; in ascending and in descending order; hardly different.
  for (const SamplingOptions& options : kWays) {
    auto logits = Random<float>(5000, 1, 8.0);
    std::sort(logits.begin(), logits.end());
    Check(options, MakeRows(5000, logits));
    std::reverse(logits.begin(), logits.end());
    Check(options, MakeRows(5000, logits));
    logits[77] = 60.0f;
    Check(options, MakeRows(5000, logits));
    for (float& logit : logits) logit = 1000.0f + logit * 1e-3f;
    Check(options, MakeRows(5000, logits));
  }
}

TEST(SampleTokensTest, OfEqualLogitsTopKTakesLowerIds) {
  for (const int64_t k : {1, 3, 100, 128, 129, 700, 1999, 2000, 3000}) {
    auto rows = RandomRows(6, 2000, k, 2.0);
    for (float& logit : rows.logits) logit = std::round(logit);
    Check(Options(1.0, k, 1.0), rows);
    Check(Options(1.0, k, 1.0), MakeRows(2000, std::vector<float>(4 * 2000, -0.5f)));
  }
}

TEST(SampleTokensTest, OfEqualLogitsTopPTakesLowerIds) {
  for (const double p : {0.00005, 0.10025, 0.50025, 0.99975}) {
    Check(Options(1.0, 0, p), MakeRows(2000, std::vector<float>(6 * 2000, 3.0f)));
    Check(Options(1.0, 100, p), MakeRows(2000, std::vector<float>(6 * 2000, 3.0f)));
    Check(Options(1.0, 1500, p), MakeRows(2000, std::vector<float>(6 * 2000, 3.0f)));
    auto rows = RandomRows(6, 2000, 3, 2.0);
    for (float& logit : rows.logits) logit = std::round(logit);
    Check(Options(1.0, 0, p), rows);
  }
}

TEST(SampleTokensTest, TakesTinyTopP) {
  for (const double p : {1e-300, 1e-12, 1e-5}) {
    for (const int64_t k : {0, 5, 200}) {
      const auto rows = RandomRows(20, 3000, 2);
      const Result result = Sample(Options(1.0, k, p), rows);
      for (int64_t row = 0; row < 20; ++row) {
        const auto x = rows.logits.begin() + row * 3000;
        EXPECT_EQ(result.tokens[row], std::max_element(x, x + 3000) - x);
      }
    }
  }
}

TEST(SampleTokensTest, TakesTopPOfAlmostOne) {
  Check(Options(1.0, 0, 0.999), RandomRows(20, 3000, 2));
  // All of them, whatever is rounded away.
  const auto rows = RandomRows(100, 5, 2);
  const double almost = std::nextafter(1.0, 0.0);
  for (const int64_t k : {0, 4, 200}) {
    EXPECT_EQ(Sample(Options(1.0, k, almost), rows).tokens,
              Sample(Options(1.0, k, 1.0), rows).tokens);
  }
}

TEST(SampleTokensTest, TakesTemperaturesOfAnySize) {
  for (const int64_t k : {0, 8, 500}) {
    for (const double p : {1.0, 0.9}) {
      const auto rows = RandomRows(5, 3001, 2);
      for (const double temperature : {0.01, 0.1, 30.0}) Check(Options(temperature, k, p), rows);
      // The best one.
      for (const double temperature : {1e-300, 1e-30}) Check(Options(temperature, k, p), rows);
      // All alike.
      for (const double temperature : {1e30, 1e300}) Check(Options(temperature, k, p), rows);
    }
  }
}

TEST(SampleTokensTest, TakesLargeLogits) {
  for (const double limit : {1e-30, 1e5, 1e30, 3e38}) {
    for (const SamplingOptions& options : kWays) Check(options, RandomRows(4, 3000, 1, limit));
  }
}

TEST(SampleTokensTest, KnowsOneZeroOnly) {
  for (const int64_t k : {2, 129}) {
    auto logits = std::vector<float>(1000, -0.0f);
    for (int i = 0; i < 500; ++i) logits[2 * i + 1] = 0.0f;
    Check(Options(1.0, k, 1.0), MakeRows(250, logits));
  }
}

TEST(SampleTokensTest, NeverDrawsWhatIsMinusInfinity) {
  for (const SamplingOptions& options : kWays) {
    auto rows = RandomRows(10, 3001, 6);
    for (size_t i = 0; i < rows.logits.size(); ++i) {
      if (i % 7 != 3) rows.logits[i] = -kInfinity;
    }
    Check(options, rows);
    std::fill(rows.logits.begin(), rows.logits.begin() + 3001, -kInfinity);
    rows.logits[3000] = -80.0f;
    Check(options, rows);
  }
}

TEST(SampleTokensTest, NeverDrawsWhatIsExcludedNorChangesOthers) {
  for (const SamplingOptions& options : kWays) {
    for (const int64_t n : {40, 3001}) {
      auto rows = RandomRows(9, n, 6);
      for (int64_t row = 0; row < 9; ++row) {
        const float* const x = &rows.logits[row * n];
        // The most probable, in different numbers, the first of them twice.
        std::vector<int32_t> tokens(n);
        std::iota(tokens.begin(), tokens.end(), 0);
        std::sort(tokens.begin(), tokens.end(), [&](int32_t a, int32_t b) { return x[a] > x[b]; });
        tokens.resize(row * 3);
        if (row > 0) tokens.push_back(tokens[0]);
        rows.excluded.push_back(tokens);
      }
      Check(options, rows);
    }
  }
}

// Here all that is left is so improbable that its exponentials are 0, seen from the top.
TEST(SampleTokensTest, DrawsFromWhatIsLeftHoweverImprobable) {
  for (const SamplingOptions& options : kWays) {
    auto rows = RandomRows(5, 3001, 6);
    rows.excluded.assign(5, {17, 0});
    for (int64_t row = 0; row < 5; ++row) rows.logits[row * 3001 + 17] = 1e4f;
    Check(options, rows);
  }
}

TEST(SampleTokensTest, DrawsNothingWhereEverythingIsExcluded) {
  for (const int64_t n : {1, 100, 300}) {
    for (const SamplingOptions& options : kWays) {
      auto rows = RandomRows(3, n, 6);
      rows.excluded.resize(3);
      rows.excluded[1].resize(n);
      std::iota(rows.excluded[1].begin(), rows.excluded[1].end(), 0);
      Check(options, rows);
      EXPECT_EQ(Sample(options, rows).tokens[1], -1);
    }
  }
}

TEST(SampleTokensTest, TakesNoRows) {
  for (const SamplingOptions& options : kWays) Check(options, MakeRows(10, {}));
}

TEST(SampleTokensTest, TakesManyRows) {
  for (const SamplingOptions& options : kWays) Check(options, RandomRows(700, 300, 1));
}

TEST(SampleTokensTest, TellsOfTheFirstRowWithoutADistribution) {
  constexpr int64_t n = 3000;
  for (SamplingOptions options : kWays) {
    for (const float bad : {kNaN, -kNaN, kInfinity}) {
      for (const int64_t at : {0, 1500, 2999}) {
        auto rows = RandomRows(5, n, 2);
        rows.excluded = {{}, {1500, 1}, {1500, 1}, {}, {}};
        const Result expected = Sample(options, rows);
        rows.logits[2 * n + at] = bad;  // also where it is excluded
        rows.logits[4 * n] = bad;
        const Result result = Sample(options, rows);
        EXPECT_EQ(result.bad_row, 2);
        for (int64_t row = 0; row < 5; ++row) {
          const bool is_bad = row == 2 || row == 4;
          EXPECT_EQ(result.tokens[row], is_bad ? -1 : expected.tokens[row]);
          EXPECT_EQ(std::isnan(result.log_probs[row]), is_bad);
        }
      }
    }
  }
}

TEST(SampleTokensTest, TellsOfARowOfMinusInfinity) {
  for (const SamplingOptions& options : kWays) {
    auto rows = RandomRows(3, 3000, 2);
    std::fill(rows.logits.begin() + 3000, rows.logits.begin() + 6000, -kInfinity);
    const Result result = Sample(options, rows);
    EXPECT_EQ(result.bad_row, 1);
    EXPECT_EQ(result.tokens[1], -1);
    EXPECT_TRUE(std::isnan(result.log_probs[1]));
    EXPECT_GE(result.tokens[0], 0);
    EXPECT_GE(result.tokens[2], 0);
  }
}

TEST(SampleTokensTest, RepeatsItself) {
  for (const SamplingOptions& options : kWays) {
    const auto rows = RandomRows(20, 3000, 3);
    const Result one = Sample(options, rows, 1);
    const Result three = Sample(options, rows, 3);
    EXPECT_EQ(one.tokens, three.tokens);
    EXPECT_TRUE(Identical(one.log_probs, three.log_probs));
  }
}

TEST(SampleTokensTest, DoesNotDependOnOtherRows) {
  constexpr int64_t n = 3001;  // no multiple of a vector: rows begin anywhere
  for (const SamplingOptions& options : kWays) {
    auto rows = RandomRows(6, n, 3);
    rows.excluded.assign(6, {5});
    const Result together = Sample(options, rows);
    for (int64_t row = 0; row < 6; ++row) {
      const auto start = rows.logits.begin() + row * n;
      const Result alone = Sample(options, {n, {start, start + n}, {rows.counters[row]}, {{5}}});
      EXPECT_EQ(alone.tokens[0], together.tokens[row]);
      EXPECT_NEAR(alone.log_probs[0], together.log_probs[row], 5e-6);
    }
  }
}

TEST(SampleTokensTest, DependsOnSeedSentenceSampleAndPosition) {
  constexpr int64_t n = 100000;
  const std::vector<float> equal(n, 0.0f);
  const auto draw = [&](uint64_t seed, const SampleCounter& counter) {
    return Sample(Options(1.0, 0, 1.0, seed), {n, equal, {counter}}).tokens[0];
  };
  std::vector<int32_t> drawn = {draw(1, {0, 0, 0}), draw(2, {0, 0, 0}), draw(1ull << 32, {0, 0, 0}),
                                draw(1, {1, 0, 0}), draw(1, {0, 1, 0}), draw(1, {0, 0, 1})};
  std::sort(drawn.begin(), drawn.end());
  EXPECT_EQ(std::unique(drawn.begin(), drawn.end()), drawn.end());
}

// Pearson's test: of a thousand right samplers one would fail, with seeds that are not fixed.
TEST(SampleTokensTest, DrawsTokensAsOftenAsTheyAreProbable) {
  constexpr int64_t n = 8, kDraws = 20000;
  const std::vector<float> x = {0.5f, -1.0f, 1.5f, 0.0f, 1.5f, -3.0f, 0.7f, -0.2f};
  Rows rows = {n, {}, {}};
  for (uint32_t i = 0; i < kDraws; ++i) {
    rows.logits.insert(rows.logits.end(), x.begin(), x.end());
    rows.counters.push_back({i % 50, i / 50 % 4, i / 200});
  }
  // Of 1 to 7 degrees of freedom, at 0.001.
  const double limits[] = {10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32};
  for (const SamplingOptions& options :
       {Options(1.0, 0, 1.0, 1), Options(0.5, 0, 1.0, 2), Options(1.0, 5, 1.0, 3),
        Options(1.0, 0, 0.8, 4), Options(2.0, 6, 0.7, 5)}) {
    const Distribution from = DistributionOf(options, rows, 0);
    const Result result = Sample(options, rows);
    double chi_square = 0.0;
    int64_t counted = 0;
    for (size_t i = 0; i < from.tokens.size(); ++i) {
      const auto times = std::count(result.tokens.begin(), result.tokens.end(), from.tokens[i]);
      const double expected = kDraws * from.probs[i];
      chi_square += (times - expected) * (times - expected) / expected;
      counted += times;
    }
    EXPECT_EQ(counted, kDraws);
    ASSERT_GE(from.tokens.size(), 2u);
    EXPECT_LT(chi_square, limits[from.tokens.size() - 2]);
  }
}

TEST(SampleTokensTest, RefusesOptionsOutOfRange) {
  const auto rows = RandomRows(1, 4, 1);
  for (const double bad : {0.0, -1.0, static_cast<double>(kInfinity), static_cast<double>(kNaN)}) {
    EXPECT_THROW(Sample(Options(bad, 0, 1.0), rows), std::invalid_argument);
  }
  for (const double bad : {0.0, -0.5, 1.5, static_cast<double>(kNaN)}) {
    EXPECT_THROW(Sample(Options(1.0, 0, bad), rows), std::invalid_argument);
  }
  EXPECT_THROW(Sample(Options(1.0, -1, 1.0), rows), std::invalid_argument);
}

}  // namespace
}  // namespace tf_ls
