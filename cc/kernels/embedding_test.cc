#include "cc/kernels/embedding.h"

#include <cmath>
#include <tuple>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/dropout_mask.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::DropoutFactors;
using test::Identical;
using test::Random;
using test::TestCpu;
using test::Unwritten;
using test::Value;

constexpr int64_t kVocabSize = 9;
constexpr int64_t kLength = 4;
constexpr float kScale = 2.5f;

const Dropout kDropouts[] = {{}, {0.3f, 0xfedcba9876543210, DropoutSite::kEmbedding}};

// Ten rows: id 5 comes often, others once or never, two rows hold no token.
const std::vector<int32_t> kIds = {5, 0, 8, -1, 5, 5, 3, 5, -1, 1};
const std::vector<int32_t> kPositions = {0, 1, 2, 0, 0, 1, 2, 3, 0, 1};

TokenRows Rows(const std::vector<int32_t>& ids, const std::vector<int32_t>& positions) {
  return {static_cast<int64_t>(ids.size()), ids.data(), positions.data()};
}

// SinusoidalPositions
// ------------------------------------------------------------------------------

std::vector<double> ExpectedSignal(int64_t start, int64_t count, int64_t n) {
  std::vector<double> y;
  const int64_t waves = n / 2;
  for (int64_t p = start; p < start + count; ++p) {
    for (int64_t j = 0; j < n; ++j) {
      const double wave = j % std::max<int64_t>(waves, 1);
      const double angle = p * (waves > 1 ? std::pow(1e4, -wave / (waves - 1)) : 1.0);
      y.push_back(j == 2 * waves ? 0.0 : j < waves ? std::sin(angle) : std::cos(angle));
    }
  }
  return y;
}

TEST(SinusoidalPositionsTest, AreSinesAndCosines) {
  for (const int64_t n : {1, 2, 3, 4, 7, 64, 65}) {
    for (const int64_t count : {0, 1, 64, 65, 300}) {
      for (const int64_t start : {0, 5, 100000}) {
        auto y = Unwritten<float>(count * n);
        SinusoidalPositions(TestCpu(), start, count, n, y.data());
        EXPECT_TRUE(Close(y, ExpectedSignal(start, count, n), 1e-7))
            << n << ": " << start << " + " << count;
      }
    }
  }
}

TEST(SinusoidalPositionsTest, DoNotDependOnTheNumberOfThreads) {
  std::vector<float> y[2] = {std::vector<float>(500 * 33), std::vector<float>(500 * 33)};
  SinusoidalPositions(TestCpu(1), 3, 500, 33, y[0].data());
  SinusoidalPositions(TestCpu(5), 3, 500, 33, y[1].data());
  EXPECT_TRUE(Identical(y[0], y[1]));
}

// Embed
// --------------------------------------------------------------------------------------------

template <typename Types>
class EmbedTest : public ::testing::Test {};

using TableAndOutput =
    ::testing::Types<std::tuple<float, float>, std::tuple<bfloat16, float>,
                     std::tuple<float16, float>, std::tuple<float, bfloat16>,
                     std::tuple<bfloat16, bfloat16>, std::tuple<float16, bfloat16>>;
TYPED_TEST_SUITE(EmbedTest, TableAndOutput);

TYPED_TEST(EmbedTest, LooksUpScalesAddsPositionsAndDrops) {
  using Table = typename std::tuple_element<0, TypeParam>::type;
  using T = typename std::tuple_element<1, TypeParam>::type;
  for (const int64_t n : {1, 3, 64, 65, 300}) {
    const auto table = Random<Table>(kVocabSize * n, 1);
    const auto positions = Random<float>(kLength * n, 2);
    for (const Dropout& dropout : kDropouts) {
      const auto factors = DropoutFactors(dropout, kIds.size(), n);
      for (const bool with_positions : {false, true}) {
        std::vector<double> expected;
        for (size_t i = 0; i < kIds.size(); ++i) {
          for (int64_t j = 0; j < n; ++j) {
            double value = 0.0;
            if (kIds[i] >= 0) {
              value = Value(table[kIds[i] * n + j]) * kScale;
              if (with_positions) value += positions[kPositions[i] * n + j];
            }
            expected.push_back(value * factors[i * n + j]);
          }
        }
        auto y = Unwritten<T>(kIds.size() * n);
        Embed<Table, T>(TestCpu(), Rows(kIds, kPositions), dropout, kScale, table.data(),
                        with_positions ? positions.data() : nullptr, n, y.data());
        EXPECT_TRUE(Close(y, expected)) << n << " numbers, rate " << dropout.rate;
      }
    }
  }
}

TEST(EmbedTest, TakesNoRows) {
  const float table[] = {1.0f, 2.0f};
  Embed<float, float>(TestCpu(), {0, nullptr, nullptr}, {}, 1.0f, table, nullptr, 2, nullptr);
}

// Gradients
// ----------------------------------------------------------------------------------------

template <typename T>
class EmbedGradientTest : public ::testing::Test {
 protected:
  // mask * dy * scale of every row with a token, and each row's key.
  struct Contributions {
    std::vector<double> values;
    std::vector<int32_t> keys;
  };

  static Contributions Expected(const std::vector<int32_t>& ids, const std::vector<int32_t>& keys,
                                const Dropout& dropout, const std::vector<T>& dy, int64_t n) {
    const auto factors = DropoutFactors(dropout, ids.size(), n);
    Contributions expected;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0) continue;
      expected.keys.push_back(keys[i]);
      for (size_t j = i * n; j < (i + 1) * n; ++j) {
        expected.values.push_back(Value(dy[j]) * factors[j] * kScale);
      }
    }
    return expected;
  }

  static std::vector<double> Sum(const Contributions& contributions, int64_t n, int64_t size) {
    std::vector<double> sum(size * n, 0.0);
    for (size_t i = 0; i < contributions.keys.size(); ++i) {
      for (int64_t j = 0; j < n; ++j) {
        sum[contributions.keys[i] * n + j] += contributions.values[i * n + j];
      }
    }
    return sum;
  }
};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(EmbedGradientTest, Types);

TYPED_TEST(EmbedGradientTest, OfRows) {
  for (const int64_t n : {1, 3, 64, 65, 300}) {
    const auto dy = Random<TypeParam>(kIds.size() * n, 3);
    for (const Dropout& dropout : kDropouts) {
      const auto expected = this->Expected(kIds, kIds, dropout, dy, n).values;
      auto dvalues = Unwritten<float>(expected.size());
      EmbedRowGradient(TestCpu(), Rows(kIds, kPositions), dropout, kScale, dy.data(), n,
                       dvalues.data());
      EXPECT_TRUE(Close(dvalues, expected));
    }
  }
}

TYPED_TEST(EmbedGradientTest, OfTablesByIdAndByPosition) {
  for (const int64_t n : {1, 3, 64, 65, 300}) {
    const auto dy = Random<TypeParam>(kIds.size() * n, 3);
    for (const Dropout& dropout : kDropouts) {
      for (const auto& keys : {kIds, kPositions}) {
        const auto expected = this->Sum(this->Expected(kIds, keys, dropout, dy, n), n, kVocabSize);
        auto dtable = Unwritten<float>(kVocabSize * n);
        EmbedTableGradient(TestCpu(), Rows(kIds, kPositions), keys.data(), dropout, kScale,
                           dy.data(), n, kVocabSize, dtable.data());
        EXPECT_TRUE(Close(dtable, expected));
      }
    }
  }
}

// One id in most rows, so that its sum goes over several pieces.
std::vector<int32_t> FrequentIds(int64_t rows) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < rows; ++i) ids.push_back(i % 5 == 0 ? -1 : i % 7 == 0 ? i % 9 : 4);
  return ids;
}

TYPED_TEST(EmbedGradientTest, OfATableWithAFrequentId) {
  constexpr int64_t n = 33;
  const auto ids = FrequentIds(1000);
  const auto dy = Random<TypeParam>(ids.size() * n, 4);
  for (const Dropout& dropout : kDropouts) {
    const auto expected = this->Sum(this->Expected(ids, ids, dropout, dy, n), n, kVocabSize);
    std::vector<float> dtables[3];
    for (const int threads : {1, 2, 5}) {
      auto& dtable = dtables[threads / 2];
      dtable = Unwritten<float>(kVocabSize * n);
      EmbedTableGradient(TestCpu(threads), Rows(ids, ids), ids.data(), dropout, kScale, dy.data(),
                         n, kVocabSize, dtable.data());
      EXPECT_TRUE(Close(dtable, expected));
      EXPECT_TRUE(Identical(dtable, dtables[0])) << threads << " threads";
    }
  }
}

TYPED_TEST(EmbedGradientTest, TakesNoRows) {
  const TokenRows none{0, nullptr, nullptr};
  EmbedRowGradient<TypeParam>(TestCpu(), none, {}, kScale, nullptr, 3, nullptr);
  auto dtable = Unwritten<float>(kVocabSize * 3);
  EmbedTableGradient<TypeParam>(TestCpu(), none, nullptr, {}, kScale, nullptr, 3, kVocabSize,
                                dtable.data());
  EXPECT_TRUE(Identical(dtable, std::vector<float>(kVocabSize * 3, 0.0f)));
}

}  // namespace
}  // namespace tf_ls
