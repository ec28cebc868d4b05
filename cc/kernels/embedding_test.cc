#include "cc/kernels/embedding.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/dropout_mask.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::DropoutFactors;
using test::Identical;
using test::Random;
using test::TestedDevice;
using test::Testing;
using test::Unwritten;
using test::Value;

using Instance = Testing<TestedDevice>::Instance;
template <typename T>
using Numbers = Testing<TestedDevice>::Numbers<T>;

constexpr int64_t kVocabSize = 9;
constexpr int64_t kLength = 4;
constexpr float kScale = 2.5f;
constexpr int64_t kSizes[] = {1, 3, 64, 65, 300};

const Dropout kDropouts[] = {{}, {0.3f, 0xfedcba9876543210, DropoutSite::kEmbedding}};

// Ten rows: id 5 comes often, others once or never, two rows hold no token.
const std::vector<int32_t> kIds = {5, 0, 8, -1, 5, 5, 3, 5, -1, 1};
const std::vector<int32_t> kPositions = {0, 1, 2, 0, 0, 1, 2, 3, 0, 1};

// The same in the device's memory.
class DeviceTokens {
 public:
  DeviceTokens(const std::vector<int32_t>& ids, const std::vector<int32_t>& positions)
      : count_(ids.size()), ids_(ids), positions_(positions) {}

  operator TokenRows() const { return {count_, ids_.data(), positions_.data()}; }

 private:
  const int64_t count_;
  const Numbers<int32_t> ids_, positions_;
};

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

std::vector<float> Signal(int64_t start, int64_t count, int64_t n, int threads = 2) {
  const Instance device(threads);
  Numbers<float> y(Unwritten<float>(count * n));
  SinusoidalPositions(static_cast<const TestedDevice&>(device), start, count, n, y.data());
  return y.host();
}

TEST(SinusoidalPositionsTest, AreSinesAndCosines) {
  for (const int64_t n : {1, 2, 3, 4, 7, 64, 65}) {
    for (const int64_t count : {0, 1, 64, 65, 300}) {
      for (const int64_t start : {0, 5, 100000}) {
        EXPECT_TRUE(Close(Signal(start, count, n), ExpectedSignal(start, count, n), 1e-7))
            << n << ": " << start << " + " << count;
      }
    }
  }
}

TEST(SinusoidalPositionsTest, DoNotDependOnTheNumberOfThreads) {
  EXPECT_TRUE(Identical(Signal(3, 500, 33, 1), Signal(3, 500, 33, 5)));
}

// Embed
// --------------------------------------------------------------------------------------------

template <typename DeviceAndType>
class EmbedTest : public ::testing::Test {
 protected:
  using T = typename DeviceAndType::Type;

  template <typename Table>
  std::vector<T> LookUp(const std::vector<Table>& table, const std::vector<float>* positions,
                        const Dropout& dropout, int64_t n) {
    const DeviceTokens rows(kIds, kPositions);
    const Numbers<Table> words(table);
    const Numbers<float> places(positions == nullptr ? std::vector<float>() : *positions);
    Numbers<T> y(Unwritten<T>(kIds.size() * n));
    Embed(device_, rows, dropout, kScale, words.data(),
          positions == nullptr ? nullptr : places.data(), n, y.data());
    return y.host();
  }

  template <typename Table>
  void CheckLookUp() {
    for (const int64_t n : kSizes) {
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
          EXPECT_TRUE(
              Close(LookUp(table, with_positions ? &positions : nullptr, dropout, n), expected))
              << n << " numbers, rate " << dropout.rate;
        }
      }
    }
  }

  const Instance test_device_;
  const TestedDevice& device_ = test_device_;
};

TYPED_TEST_SUITE(EmbedTest, test::DeviceTypes);

TYPED_TEST(EmbedTest, LooksUpScalesAddsPositionsAndDrops) {
  this->template CheckLookUp<float>();
  this->template CheckLookUp<float16>();
  this->template CheckLookUp<bfloat16>();
}

TYPED_TEST(EmbedTest, TakesATableInInt8) {
  using T = typename TestFixture::T;
  for (const int64_t n : kSizes) {
    std::vector<int8_t> table(kVocabSize * n);
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int8_t>(i * 41 % 255 - 127);
    const auto scales = Random<float>(kVocabSize, 1), positions = Random<float>(kLength * n, 2);
    const DeviceTokens rows(kIds, kPositions);
    const Numbers<int8_t> words(table);
    const Numbers<float> word_scales(scales), places(positions);
    for (const Dropout& dropout : kDropouts) {
      const auto factors = DropoutFactors(dropout, kIds.size(), n);
      for (const bool with_positions : {false, true}) {
        std::vector<double> expected(kIds.size() * n, 0.0);
        for (size_t i = 0; i < expected.size(); ++i) {
          const int32_t id = kIds[i / n];
          if (id < 0) continue;
          double value = double{scales[id]} * table[id * n + i % n] * kScale;
          if (with_positions) value += positions[kPositions[i / n] * n + i % n];
          expected[i] = value * factors[i];
        }
        Numbers<T> y(Unwritten<T>(kIds.size() * n));
        Embed(this->device_, rows, dropout, kScale, Int8Numbers{words.data(), word_scales.data()},
              with_positions ? places.data() : nullptr, n, y.data());
        EXPECT_TRUE(Close(y.host(), expected)) << n << " numbers, rate " << dropout.rate;
      }
    }
  }
}

TYPED_TEST(EmbedTest, DropsWhatTheMaskDrops) {
  constexpr int64_t n = 300;
  const std::vector<float> table(kVocabSize * n, 1.0f);
  const auto factors = DropoutFactors(kDropouts[1], kIds.size(), n);
  const auto y = this->LookUp(table, nullptr, kDropouts[1], n);
  for (size_t i = 0; i < y.size(); ++i) {
    EXPECT_EQ(Value(y[i]) == 0.0, factors[i] == 0.0 || kIds[i / n] < 0) << i;
  }
}

TYPED_TEST(EmbedTest, TakesNoRows) {
  const Numbers<float> table({1.0f, 2.0f});
  Numbers<typename TestFixture::T> y({});
  Embed(this->device_, {0, nullptr, nullptr}, {}, 1.0f, table.data(), nullptr, 2, y.data());
}

// Gradients
// ----------------------------------------------------------------------------------------

template <typename DeviceAndType>
class EmbedGradientTest : public ::testing::Test {
 protected:
  using T = typename DeviceAndType::Type;

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

  static std::vector<float> OfRows(const std::vector<int32_t>& ids, const Dropout& dropout,
                                   const std::vector<T>& dy, int64_t n) {
    const Instance device;
    const DeviceTokens rows(ids, ids);
    const Numbers<T> gradient(dy);
    const int64_t tokens = ids.size() - std::count(ids.begin(), ids.end(), -1);
    Numbers<float> dvalues(Unwritten<float>(tokens * n));
    EmbedRowGradient(static_cast<const TestedDevice&>(device), rows, dropout, kScale,
                     gradient.data(), n, dvalues.data());
    return dvalues.host();
  }

  static std::vector<float> OfTable(const std::vector<int32_t>& ids,
                                    const std::vector<int32_t>& keys, const Dropout& dropout,
                                    const std::vector<T>& dy, int64_t n, int64_t size = kVocabSize,
                                    int threads = 2) {
    const Instance device(threads);
    const DeviceTokens rows(ids, keys);
    const Numbers<int32_t> sums(keys);
    const Numbers<T> gradient(dy);
    Numbers<float> dtable(Unwritten<float>(size * n));
    EmbedTableGradient(static_cast<const TestedDevice&>(device), rows, sums.data(), dropout, kScale,
                       gradient.data(), n, size, dtable.data());
    return dtable.host();
  }
};

TYPED_TEST_SUITE(EmbedGradientTest, test::DeviceTypes);

TYPED_TEST(EmbedGradientTest, OfRows) {
  for (const int64_t n : kSizes) {
    const auto dy = Random<typename TestFixture::T>(kIds.size() * n, 3);
    for (const Dropout& dropout : kDropouts) {
      EXPECT_TRUE(Close(this->OfRows(kIds, dropout, dy, n),
                        this->Expected(kIds, kIds, dropout, dy, n).values));
    }
  }
}

TYPED_TEST(EmbedGradientTest, OfTablesByIdAndByPosition) {
  for (const int64_t n : kSizes) {
    const auto dy = Random<typename TestFixture::T>(kIds.size() * n, 3);
    for (const Dropout& dropout : kDropouts) {
      for (const auto& keys : {kIds, kPositions}) {
        EXPECT_TRUE(Close(this->OfTable(kIds, keys, dropout, dy, n),
                          this->Sum(this->Expected(kIds, keys, dropout, dy, n), n, kVocabSize)));
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
  for (const int64_t n : {33, 40}) {
    const auto ids = FrequentIds(1000);
    const auto dy = Random<typename TestFixture::T>(ids.size() * n, 4);
    for (const Dropout& dropout : kDropouts) {
      const auto expected = this->Sum(this->Expected(ids, ids, dropout, dy, n), n, kVocabSize);
      const auto dtable = this->OfTable(ids, ids, dropout, dy, n);
      EXPECT_TRUE(Close(dtable, expected));
      for (const int threads : {1, 5}) {
        EXPECT_TRUE(Identical(this->OfTable(ids, ids, dropout, dy, n, kVocabSize, threads), dtable))
            << threads << " threads";
      }
    }
  }
}

TYPED_TEST(EmbedGradientTest, OfOneId) {
  const auto dy = Random<typename TestFixture::T>(64 * 8, 5);
  for (const int64_t rows :
       {1, 15, 16, 17, 63, 64}) {  // all of one id, in the last row of the table
    const std::vector<int32_t> ids(rows, kVocabSize - 1);
    const std::vector<typename TestFixture::T> given(dy.begin(), dy.begin() + rows * 8);
    EXPECT_TRUE(Close(this->OfTable(ids, ids, {}, given, 8),
                      this->Sum(this->Expected(ids, ids, {}, given, 8), 8, kVocabSize)));
  }
}

TYPED_TEST(EmbedGradientTest, OfManyRows) {
  constexpr int64_t n = 8;
  constexpr int64_t kSize = 3001;
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < 20000; ++i) ids.push_back(i % 11 == 0 ? -1 : i * 7919 % 65537 % kSize);
  const auto dy = Random<typename TestFixture::T>(ids.size() * n, 6);
  const auto expected = this->Expected(ids, ids, {}, dy, n);
  EXPECT_TRUE(Close(this->OfTable(ids, ids, {}, dy, n, kSize), this->Sum(expected, n, kSize)));
  EXPECT_TRUE(Close(this->OfRows(ids, {}, dy, n), expected.values));
}

TYPED_TEST(EmbedGradientTest, OfRowsWithoutATokenIsNothing) {
  const std::vector<int32_t> ids(70, -1);
  const auto dy = Random<typename TestFixture::T>(ids.size() * 8, 7);
  EXPECT_TRUE(this->OfRows(ids, {}, dy, 8).empty());
  EXPECT_TRUE(Identical(this->OfTable(ids, ids, {}, dy, 8), std::vector<float>(kVocabSize * 8)));
}

TYPED_TEST(EmbedGradientTest, TakesNoRows) {
  EXPECT_TRUE(this->OfRows({}, {}, {}, 3).empty());
  EXPECT_TRUE(Identical(this->OfTable({}, {}, {}, {}, 3), std::vector<float>(kVocabSize * 3)));
}

}  // namespace
}  // namespace tf_ls
