#include "cc/kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Convert;
using test::Identical;
using test::Random;
using test::TestCpu;
using test::Value;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// Of a scale; what exceeds a half is the rounding of x / scale, which is up to 127.
constexpr double kBound = 0.5 + 127 * 3e-7;

template <typename DeviceAndType>
class QuantizeRowsTest : public ::testing::Test {
 protected:
  using T = typename DeviceAndType::Type;

  struct Result {
    std::vector<std::vector<int>> rows;  // without the offset, with what is filled up
    std::vector<float> scales;
  };

  static Result Quantize(const std::vector<T>& x, int64_t rows, int64_t n) {
    const TestCpu device;
    const Cpu& cpu = device;
    const ArenaScope scope(cpu.arena);
    const QuantizedRows quantized = QuantizeRows(cpu, x.data(), rows, n);
    EXPECT_EQ(quantized.stride, (n + 3) / 4 * 4);
    Result result;
    for (int64_t i = 0; i < rows; ++i) {
      result.rows.emplace_back();
      for (int64_t j = 0; j < quantized.stride; ++j) {
        result.rows[i].push_back(quantized.numbers[i * quantized.stride + j] - kInt8Offset);
      }
      result.scales.push_back(quantized.scales[i]);
    }
    return result;
  }
};
TYPED_TEST_SUITE(QuantizeRowsTest, test::DeviceTypes);

TYPED_TEST(QuantizeRowsTest, RoundToTheNearestOf255Numbers) {
  using T = typename TestFixture::T;
  for (const int64_t rows : {0, 1, 3, 40}) {
    for (const int64_t n : {1, 3, 4, 15, 16, 17, 64, 511}) {
      const auto x = Random<T>(rows * n, 1, 3.0);
      const auto quantized = this->Quantize(x, rows, n);
      for (int64_t i = 0; i < rows; ++i) {
        double largest = 0.0;
        for (int64_t j = 0; j < n; ++j) largest = std::max(largest, std::fabs(Value(x[i * n + j])));
        const double scale = quantized.scales[i];
        ASSERT_NEAR(scale, largest / 127, 1e-7 * largest);
        int most = 0;
        for (int64_t j = 0; j < n; ++j) {
          const int q = quantized.rows[i][j];
          ASSERT_LE(std::fabs(Value(x[i * n + j]) - scale * q), kBound * scale)
              << rows << " x " << n << ", row " << i << ", number " << j;
          most = std::max(most, std::abs(q));
        }
        ASSERT_EQ(most, 127);
        for (size_t j = n; j < quantized.rows[i].size(); ++j) ASSERT_EQ(quantized.rows[i][j], 0);
      }
    }
  }
}

TYPED_TEST(QuantizeRowsTest, RoundHalvesToEven) {
  using T = typename TestFixture::T;
  const std::vector<float> x = {127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.25, -127, -126.5, 3, 0.75};
  const auto quantized = this->Quantize(Convert<T>(x), 1, x.size());
  EXPECT_EQ(quantized.scales[0], 1.0f);
  EXPECT_EQ(quantized.rows[0], (std::vector<int>{127, 0, 2, 2, 0, -2, -2, 0, -127, -126, 3, 1}));
}

TYPED_TEST(QuantizeRowsTest, KeepZerosAndTakeNumbersOfAnySize) {
  using T = typename TestFixture::T;
  constexpr int64_t kCount = 20;
  for (const double limit : {0.0, 1e-40, 1.5e-38, 1e-30, 1e30, 3.3e38}) {
    const auto x = Random<T>(kCount, 1, limit);
    const auto quantized = this->Quantize(x, 1, kCount);
    const double scale = quantized.scales[0];
    EXPECT_GE(scale, std::numeric_limits<float>::min());
    EXPECT_LE(scale, 3e36);
    for (int64_t j = 0; j < kCount; ++j) {
      EXPECT_LE(std::fabs(Value(x[j]) - scale * quantized.rows[0][j]), kBound * scale) << limit;
      if (Value(x[j]) == 0.0) {
        EXPECT_EQ(quantized.rows[0][j], 0);
      }
    }
  }
}

TYPED_TEST(QuantizeRowsTest, ThatAreNotFiniteHaveNoScale) {
  using T = typename TestFixture::T;
  constexpr int64_t kCount = 37;
  for (const float bad : {kNan, -kNan, kInf, -kInf}) {
    for (const int64_t at : {0, 15, 31, 32, 36}) {
      auto x = Random<T>(3 * kCount, 1);
      const auto without = this->Quantize(x, 3, kCount);
      test::Assign(bad, &x[kCount + at]);
      const auto quantized = this->Quantize(x, 3, kCount);
      EXPECT_TRUE(std::isnan(quantized.scales[1]));
      EXPECT_EQ(quantized.rows[1], std::vector<int>(quantized.rows[1].size(), 0));
      for (const int64_t other : {0, 2}) {
        EXPECT_EQ(quantized.scales[other], without.scales[other]);
        EXPECT_EQ(quantized.rows[other], without.rows[other]);
      }
    }
  }
}

class QuantizeWeightTest : public ::testing::Test {
 protected:
  struct Result {
    std::vector<int8_t> numbers;
    std::vector<float> scales;
  };
  static Result Quantize(const Weight& weight, int threads = 2) {
    Result result = {std::vector<int8_t>(weight.inputs * weight.outputs, -128),
                     std::vector<float>(weight.outputs, kNan)};
    QuantizeWeight(TestCpu(threads), weight, result.numbers.data(), result.scales.data());
    return result;
  }

  static std::vector<float> Transpose(const std::vector<float>& w, int64_t rows, int64_t columns) {
    std::vector<float> transposed;
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = 0; i < rows; ++i) transposed.push_back(w[i * columns + j]);
    }
    return transposed;
  }
};

TEST_F(QuantizeWeightTest, HasAScaleForEachOutput) {
  for (const int64_t inputs : {1, 5, 16, 33}) {
    for (const int64_t outputs : {1, 3, 256, 300}) {
      auto w = Random<float>(inputs * outputs, 1);
      for (size_t i = 0; i < w.size(); ++i) w[i] *= 1 + i % outputs;
      const auto quantized = Quantize({w.data(), inputs, outputs});
      for (int64_t j = 0; j < outputs; ++j) {
        double largest = 0.0;
        int most = 0;
        const double scale = quantized.scales[j];
        for (int64_t i = 0; i < inputs; ++i) {
          const double number = w[i * outputs + j];
          const int q = quantized.numbers[i * outputs + j];
          ASSERT_LE(std::fabs(number - scale * q), kBound * scale);
          largest = std::max(largest, std::fabs(number));
          most = std::max(most, std::abs(q));
        }
        ASSERT_NEAR(scale, largest / 127, 1e-7 * largest);
        ASSERT_EQ(most, 127);
      }
      // Stored the other way round it is the same.
      const auto other = Transpose(w, inputs, outputs);
      const auto transposed = Quantize({other.data(), inputs, outputs, /*transposed=*/true});
      EXPECT_TRUE(Identical(transposed.scales, quantized.scales));
      for (int64_t i = 0; i < inputs; ++i) {
        for (int64_t j = 0; j < outputs; ++j) {
          ASSERT_EQ(transposed.numbers[j * inputs + i], quantized.numbers[i * outputs + j]);
        }
      }
    }
  }
}

TEST_F(QuantizeWeightTest, TellsOutputsApartThatAreZeroOrNotFinite) {
  constexpr int64_t kInputs = 19, kOutputs = 5;
  auto w = Random<float>(kInputs * kOutputs, 1);
  for (int64_t i = 0; i < kInputs; ++i) w[i * kOutputs + 1] = 0.0f;
  w[7 * kOutputs + 3] = kNan;
  w[18 * kOutputs + 4] = -kInf;
  const auto other = Transpose(w, kInputs, kOutputs);
  for (const bool transposed : {false, true}) {
    const auto quantized =
        Quantize({transposed ? other.data() : w.data(), kInputs, kOutputs, transposed});
    EXPECT_GT(quantized.scales[1], 0.0f);
    EXPECT_TRUE(std::isfinite(quantized.scales[0]) && std::isfinite(quantized.scales[1]) &&
                std::isfinite(quantized.scales[2]));
    EXPECT_TRUE(std::isnan(quantized.scales[3]) && std::isnan(quantized.scales[4]));
    for (int64_t i = 0; i < kInputs; ++i) {
      for (const int64_t j : {1, 3, 4}) {
        const int64_t at = transposed ? j * kInputs + i : i * kOutputs + j;
        EXPECT_EQ(quantized.numbers[at], 0);
      }
    }
  }
}

TEST_F(QuantizeWeightTest, DoesNotDependOnTheNumberOfThreads) {
  const auto w = Random<float>(40 * 700, 1);
  for (const bool transposed : {false, true}) {
    const Weight weight = {w.data(), 40, 700, transposed};
    const auto one = Quantize(weight, 1), three = Quantize(weight, 3);
    EXPECT_TRUE(Identical(one.scales, three.scales));
    EXPECT_EQ(one.numbers, three.numbers);
  }
}

}  // namespace
}  // namespace tf_ls
