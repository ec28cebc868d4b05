#include "cc/kernels/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

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

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
const int64_t kAllK[] = {1, 2, 5, 8, 17, 64, 100, 128};

struct Result {
  std::vector<float> logits;
  std::vector<int32_t> ids;
  std::vector<double> log_sums;
  int64_t bad_row;
};

// `pieces`: where columns are cut.
Result TopOf(const std::vector<float>& logits, int64_t rows, int64_t k,
             const std::vector<int64_t>& pieces = {}, int threads = 2) {
  const Instance device(threads);
  const int64_t vocab_size = rows == 0 ? 1 : logits.size() / rows;
  const Numbers<float> x(logits);
  Numbers<float> best(Unwritten<float>(rows * k));
  Numbers<int32_t> ids(std::vector<int32_t>(rows * k, -7));
  Numbers<double> log_sums(Unwritten<double>(rows));
  Numbers<int64_t> bad_row(std::vector<int64_t>{-1});
  std::vector<int64_t> cuts = pieces;
  cuts.insert(cuts.begin(), 0);
  cuts.push_back(vocab_size);
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    TopK(static_cast<const TestedDevice&>(device),
         {x.data() + cuts[i], vocab_size, rows, cuts[i], cuts[i + 1] - cuts[i], vocab_size},
         {k, best.data(), ids.data(), log_sums.data(), bad_row.data()});
  }
  return {best.host(), ids.host(), log_sums.host(), bad_row.host()[0]};
}

// By sorting all of them.
void Check(const std::vector<float>& logits, int64_t rows, int64_t k, const Result& result) {
  SCOPED_TRACE(::testing::Message() << rows << " rows of " << logits.size() / rows << ", k " << k);
  const int64_t n = logits.size() / rows;
  std::vector<float> best;
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < rows; ++row) {
    const float* const x = &logits[row * n];
    std::vector<int32_t> sorted(n);
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](int32_t a, int32_t b) { return x[a] > x[b]; });
    for (int64_t i = 0; i < k; ++i) {
      ids.push_back(i < n ? sorted[i] : -1);
      best.push_back(i < n ? x[sorted[i]] : -kInfinity);
    }
    const double top = x[sorted[0]];
    double sum = 0.0;
    for (int64_t j = 0; j < n; ++j) sum += std::exp(x[j] - top);
    EXPECT_NEAR(result.log_sums[row], top + std::log(sum), 2e-6);
  }
  EXPECT_EQ(result.ids, ids);
  EXPECT_EQ(result.logits, best);
  EXPECT_EQ(result.bad_row, -1);
}

void Check(const std::vector<float>& logits, int64_t rows, int64_t k) {
  Check(logits, rows, k, TopOf(logits, rows, k));
}

TEST(TopKTest, AreTheLargestOfAnyNumber) {
  for (const int64_t k : kAllK) {
    for (const int64_t n : {1, 3, 127, 128, 1000, 4097}) Check(Random<float>(3 * n, n, 8.0), 3, k);
  }
}

TEST(TopKTest, AreTheLargestOfAVocabulary) {
  for (const int64_t k : kAllK) {
    for (const int64_t n : {32000, 40961}) Check(Random<float>(2 * n, n + k, 8.0), 2, k);
  }
}

TEST(TopKTest, OfEqualLogitsAreThoseOfLowerIds) {
  for (const int64_t k : kAllK) {
    auto logits = Random<float>(2 * 20001, k);
    for (float& logit : logits) logit = std::round(logit * 3.0f);
    Check(logits, 2, k);
    Check(std::vector<float>(2 * 20001, -0.5f), 2, k);
  }
}

TEST(TopKTest, KnowsOneZeroOnly) {
  const std::vector<float> logits = {-1.0f, -0.0f, 0.0f, -0.0f, 0.0f};
  EXPECT_EQ(TopOf(logits, 1, 5).ids, (std::vector<int32_t>{1, 2, 3, 4, 0}));
}

TEST(TopKTest, TakesLogitsInAnyOrder) {
  for (const int64_t k : {1, 8, 128}) {
    auto logits = Random<float>(30000, k, 5.0);
    std::sort(logits.begin(), logits.end());
    Check(logits, 1, k);
    std::reverse(logits.begin(), logits.end());
    Check(logits, 1, k);
  }
}

// As where words are forbidden.
TEST(TopKTest, TakesLogitsOfMinusInfinity) {
  for (const int64_t k : kAllK) {
    std::vector<float> logits(2 * 9000, -kInfinity);
    logits[8999] = 1.0f;
    logits[9000] = -3.0f;
    logits[9500] = 2.0f;
    Check(logits, 2, k);
  }
}

TEST(TopKTest, TakesLargeLogits) {
  for (const double limit : {1e-30, 1e4, 1e38}) {
    const auto logits = Random<float>(5000, 1, limit);
    const Result result = TopOf(logits, 1, 8);
    EXPECT_EQ(result.logits[0], *std::max_element(logits.begin(), logits.end()));
    EXPECT_TRUE(std::isfinite(result.log_sums[0]));
  }
}

TEST(TopKTest, TakesPiecesOfTheVocabulary) {
  const auto logits = Random<float>(3 * 5003, 9, 8.0);
  for (const int64_t k : kAllK) {
    for (const auto& pieces :
         std::vector<std::vector<int64_t>>{{2048, 4096}, {1}, {3, 4, 70, 5000}, {5002}}) {
      Check(logits, 3, k, TopOf(logits, 3, k, pieces));
    }
  }
}

TEST(TopKTest, TakesAPieceOfMinusInfinity) {
  auto logits = Random<float>(4000, 9);
  std::fill(logits.begin(), logits.begin() + 2000, -kInfinity);
  Check(logits, 1, 8, TopOf(logits, 1, 8, {1000, 2000}));
  std::reverse(logits.begin(), logits.end());
  Check(logits, 1, 8, TopOf(logits, 1, 8, {1000, 2000}));
}

TEST(TopKTest, TakesManyRows) {
  Check(Random<float>(700 * 50, 1), 700, 8);
  Check(Random<float>(300 * 2000, 1), 300, 4);
}

TEST(TopKTest, TakesNoRows) {
  const Result result = TopOf({}, 0, 4);
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(result.bad_row, -1);
}

TEST(TopKTest, TellsOfTheFirstRowWithoutADistribution) {
  constexpr int64_t n = 3000;
  for (const float bad : {kNaN, -kNaN, kInfinity}) {
    for (const int64_t at : {0, 1500, 2999}) {
      auto logits = Random<float>(5 * n, 2);
      const Result expected = TopOf(logits, 5, 8);
      logits[2 * n + at] = bad;
      logits[4 * n] = bad;
      for (const std::vector<int64_t>& pieces : {std::vector<int64_t>{}, {1024, 2048}}) {
        const Result result = TopOf(logits, 5, 8, pieces);
        EXPECT_EQ(result.bad_row, 2);
        for (int64_t row = 0; row < 5; ++row) {
          const bool is_bad = row == 2 || row == 4;
          EXPECT_EQ(std::isnan(result.log_sums[row]), is_bad);
          for (int64_t i = row * 8; i < (row + 1) * 8; ++i) {
            EXPECT_EQ(result.ids[i], is_bad ? -1 : expected.ids[i]);
            EXPECT_EQ(std::isnan(result.logits[i]), is_bad);
          }
        }
      }
    }
  }
}

TEST(TopKTest, TellsOfARowThatForbidsEveryWord) {
  auto logits = Random<float>(2 * 3000, 2);
  std::fill(logits.begin() + 3000, logits.end(), -kInfinity);
  for (const std::vector<int64_t>& pieces : {std::vector<int64_t>{}, {1000}}) {
    const Result result = TopOf(logits, 2, 3, pieces);
    EXPECT_EQ(result.bad_row, 1);
    EXPECT_EQ(std::vector<int32_t>(result.ids.begin() + 3, result.ids.end()),
              std::vector<int32_t>(3, -1));
    EXPECT_TRUE(std::isnan(result.log_sums[1]));
  }
}

TEST(TopKTest, DoesNotDependOnTheNumberOfThreads) {
  const auto logits = Random<float>(20 * 3000, 3);
  const Result one = TopOf(logits, 20, 8, {}, 1);
  const Result three = TopOf(logits, 20, 8, {}, 3);
  EXPECT_EQ(one.ids, three.ids);
  EXPECT_TRUE(Identical(one.log_sums, three.log_sums));
}

TEST(TopKTest, DoesNotDependOnWhereTheRowBegins) {
  const auto logits = Random<float>(3 * 3001, 3);  // rows of 3001 are not multiples of a vector
  const Result together = TopOf(logits, 3, 8);
  for (int64_t row = 0; row < 3; ++row) {
    const auto start = logits.begin() + row * 3001;
    const Result alone = TopOf({start, start + 3001}, 1, 8);
    EXPECT_EQ(alone.ids, std::vector<int32_t>(together.ids.begin() + row * 8,
                                              together.ids.begin() + (row + 1) * 8));
    EXPECT_NEAR(alone.log_sums[0], together.log_sums[row], 1e-6);
  }
}

TEST(TopKTest, RefusesKOutOfRange) {
  EXPECT_THROW(TopOf({1.0f}, 1, 0), std::invalid_argument);
  EXPECT_THROW(TopOf({1.0f}, 1, 129), std::invalid_argument);
}

}  // namespace
}  // namespace tf_ls
