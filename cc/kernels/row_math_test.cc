#include "cc/kernels/row_math.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/dropout_mask.h"
#include "cc/testing/reference_activation.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace row {
namespace {

using test::Close;
using test::Convert;
using test::Identical;
using test::Random;
using test::Unwritten;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Lengths with every remainder of a vector, and long ones.
std::vector<int64_t> Lengths() {
  std::vector<int64_t> lengths(70);
  std::iota(lengths.begin(), lengths.end(), 1);
  lengths.push_back(1000);
  return lengths;
}

std::vector<double> Map(const std::vector<float>& x, const std::function<double(double)>& f) {
  std::vector<double> y;
  for (const float value : x) y.push_back(f(value));
  return y;
}

TEST(LoadTest, WidensExactly) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<bfloat16>(n, 1);
    auto y = Unwritten<float>(n);
    Load(x.data(), n, y.data());
    EXPECT_TRUE(Close(y, x, 0.0));
    const auto half = Random<float16>(n, 1);
    Load(half.data(), n, y.data());
    EXPECT_TRUE(Close(y, half, 0.0));
    std::vector<int8_t> bytes(n);
    for (int64_t i = 0; i < n; ++i) bytes[i] = static_cast<int8_t>(i * 37 - 128);
    Load(bytes.data(), n, y.data());
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(y[i], bytes[i]);
  }
}

TEST(StoreTest, RoundsLikeToBfloat16) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 2);
    auto y = Unwritten<bfloat16>(n);
    Store(x.data(), n, y.data());
    EXPECT_TRUE(Identical(y, Convert<bfloat16>(x)));
  }
  const std::vector<float> special = {0.0f, -0.0f, kInfinity, -kInfinity, 3.4e38f, 1e-45f};
  std::vector<bfloat16> y(special.size());
  Store(special.data(), special.size(), y.data());
  EXPECT_TRUE(Identical(y, Convert<bfloat16>(special)));
}

TEST(StoreTest, KeepsNaN) {
  const std::vector<float> x(20, kNaN);
  std::vector<bfloat16> y(20);
  Store(x.data(), 20, y.data());
  for (const bfloat16 value : y) EXPECT_TRUE(std::isnan(ToFloat(value)));
}

TEST(ArithmeticTest, AddsAndMultiplies) {
  for (const int64_t n : Lengths()) {
    const auto a = Random<float>(n, 3);
    const auto b = Random<float>(n, 4);
    const auto c = Random<float>(n, 5);
    std::vector<double> sum, product, both, scaled, shifted;
    for (int64_t i = 0; i < n; ++i) {
      sum.push_back(double{a[i]} + b[i]);
      product.push_back(double{a[i]} * b[i]);
      both.push_back(a[i] + double{b[i]} * c[i]);
      scaled.push_back(a[i] * 2.7f);
      shifted.push_back(double{a[i]} * 2.7f + b[i]);
    }
    auto y = Unwritten<float>(n);
    Add(a.data(), b.data(), n, y.data());
    EXPECT_TRUE(Close(y, sum));
    Multiply(a.data(), b.data(), n, y.data());
    EXPECT_TRUE(Close(y, product));
    MultiplyAdd(a.data(), b.data(), c.data(), n, y.data());
    EXPECT_TRUE(Close(y, both));
    Scale(a.data(), 2.7f, n, y.data());
    EXPECT_TRUE(Close(y, scaled));
    ScaleAdd(a.data(), 2.7f, b.data(), n, y.data());
    EXPECT_TRUE(Close(y, shifted));
  }
}

TEST(ArithmeticTest, WorksInPlace) {
  const auto a = Random<float>(37, 6);
  auto y = a;
  Add(y.data(), y.data(), 37, y.data());
  EXPECT_TRUE(Close(y, Map(a, [](double x) { return 2.0 * x; })));
}

// Rows of n numbers that lie anywhere, in any order.
template <typename T>
struct ScatteredRows {
  ScatteredRows(int64_t count, int64_t n) : values(Random<T>(count * n, 4)) {
    for (int64_t i = 0; i < count; ++i) rows.push_back(&values[(i * 7 + 3) % count * n]);
  }

  std::vector<T> values;
  std::vector<const T*> rows;
};

// Equal but for the rounding of so many random terms of at most 1, which may cancel out.
void CheckSums(const std::vector<float>& actual, const std::vector<double>& expected,
               int64_t terms) {
  SCOPED_TRACE(::testing::Message() << expected.size() << " sums of " << terms << " terms");
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 5e-8 * (terms + 20));
  }
}

template <typename T>
void CheckProductsAndSums() {
  for (const int64_t n : {1, 5, 8, 16, 33, 64, 128, 300}) {
    const auto x = Random<float>(n, 5);
    for (const int64_t count : {0, 1, 2, 3, 4, 5, 30, 1023}) {
      const auto weights = Random<float>(count, 6);
      const ScatteredRows<T> scattered(count, n);
      std::vector<double> products(count), sum(n);
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          products[i] += static_cast<double>(x[j]) * ToFloat(scattered.rows[i][j]);
          sum[j] += static_cast<double>(weights[i]) * ToFloat(scattered.rows[i][j]);
        }
      }
      auto y = Unwritten<float>(count);
      Products(x.data(), scattered.rows.data(), count, n, y.data());
      CheckSums(y, products, n);
      y = Unwritten<float>(n);
      WeightedSum(weights.data(), scattered.rows.data(), count, n, y.data());
      CheckSums(y, sum, count);
    }
  }
}

TEST(ProductsTest, AndWeightedSumsAgreeWithDoublePrecision) {
  CheckProductsAndSums<float>();
  CheckProductsAndSums<bfloat16>();
}

TEST(MomentsTest, AreThoseOfTheRow) {
  for (const int64_t n : Lengths()) {
    // Far from zero, where the mean of the squares minus the square of the mean would lose
    // everything.
    auto x = Random<float>(n, 7);
    for (float& value : x) value += 100.0f;
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
    double variance = 0.0;
    for (const float value : x) variance += (value - mean) * (value - mean) / n;
    float actual_mean, inverse_deviation;
    Moments(x.data(), n, 1e-3f, &actual_mean, &inverse_deviation);
    EXPECT_NEAR(actual_mean, mean, 1e-4);
    EXPECT_NEAR(inverse_deviation * std::sqrt(variance + 1e-3), 1.0, 1e-4) << n;
  }
}

TEST(MomentsTest, OfAConstantRowComeFromEpsilon) {
  for (const float number : {3.0f, 10.1f, -777.7f}) {
    for (const int64_t n : Lengths()) {
      const std::vector<float> x(n, number);
      float mean, inverse_deviation;
      Moments(x.data(), n, 1e-12f, &mean, &inverse_deviation);
      EXPECT_EQ(mean, number);
      EXPECT_NEAR(inverse_deviation * 1e-6f, 1.0f, 1e-2f);
    }
  }
}

// What Normalize after Moments should give.
std::vector<double> Normalized(const std::vector<double>& x, const std::vector<float>& gamma,
                               const std::vector<float>& beta, double epsilon) {
  const int64_t n = x.size();
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  double variance = 0.0;
  for (const double value : x) variance += (value - mean) * (value - mean) / n;
  std::vector<double> y;
  for (int64_t i = 0; i < n; ++i) {
    y.push_back((x[i] - mean) / std::sqrt(variance + epsilon) * gamma[i] + beta[i]);
  }
  return y;
}

TEST(NormalizeTest, GivesZeroMeanAndUnitVariance) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 8);
    const auto gamma = Random<float>(n, 9);
    const auto beta = Random<float>(n, 10);
    float mean, inverse_deviation;
    Moments(x.data(), n, 1e-3f, &mean, &inverse_deviation);
    auto y = Unwritten<float>(n);
    Normalize(x.data(), mean, inverse_deviation, gamma.data(), beta.data(), n, y.data());
    EXPECT_TRUE(Close(y, Normalized(Convert<double>(x), gamma, beta, 1e-3f), 1e-5));
  }
}

TEST(NormalizeGradientTest, AgreesWithFiniteDifferences) {
  for (const int64_t n : {1, 2, 3, 16, 33}) {
    const auto x = Random<float>(n, 11);
    const auto gamma = Random<float>(n, 12);
    const auto beta = Random<float>(n, 13);
    const auto dy = Random<float>(n, 14);
    float mean, inverse_deviation;
    Moments(x.data(), n, 1e-3f, &mean, &inverse_deviation);
    auto dx = Unwritten<float>(n);
    std::vector<float> dgamma(n, 5.0f), dbeta(n, 7.0f);
    NormalizeGradient(dy.data(), x.data(), mean, inverse_deviation, gamma.data(), n, dx.data(),
                      dgamma.data(), dbeta.data());

    const auto loss = [&](const std::vector<double>& at) {
      const auto y = Normalized(at, gamma, beta, 1e-3f);
      return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
    };
    const std::vector<double> center = Convert<double>(x);
    const auto normalized =
        Normalized(center, std::vector<float>(n, 1.0f), std::vector<float>(n, 0.0f), 1e-3f);
    std::vector<double> expected_dx, expected_dgamma, expected_dbeta;
    for (int64_t i = 0; i < n; ++i) {
      constexpr double kStep = 1e-5;
      std::vector<double> above = center, below = center;
      above[i] += kStep;
      below[i] -= kStep;
      expected_dx.push_back((loss(above) - loss(below)) / (2.0 * kStep));
      expected_dgamma.push_back(5.0 + dy[i] * normalized[i]);
      expected_dbeta.push_back(7.0 + dy[i]);
    }
    EXPECT_TRUE(Close(dx, expected_dx, 2e-5)) << n;
    EXPECT_TRUE(Close(dgamma, expected_dgamma, 1e-5)) << "adds to dgamma";
    EXPECT_TRUE(Close(dbeta, expected_dbeta, 1e-5)) << "adds to dbeta";
  }
}

TEST(NormalizeGradientTest, WorksInPlace) {
  const auto x = Random<float>(37, 15);
  const auto gamma = Random<float>(37, 16);
  auto dy = Random<float>(37, 17);
  std::vector<float> dx(37), dgamma(37), dbeta(37);
  NormalizeGradient(dy.data(), x.data(), 0.1f, 2.0f, gamma.data(), 37, dx.data(), dgamma.data(),
                    dbeta.data());
  NormalizeGradient(dy.data(), x.data(), 0.1f, 2.0f, gamma.data(), 37, dy.data(), dgamma.data(),
                    dbeta.data());
  EXPECT_TRUE(Identical(dy, dx));
}

TEST(ScaleTest, MultipliesByANumber) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 25);
    auto y = Unwritten<float>(n);
    Scale(x.data(), 0.25f, n, y.data());
    EXPECT_TRUE(Close(y, Map(x, [](double v) { return 0.25 * v; }), 0.0));
  }
}

struct SoftmaxResult {
  explicit SoftmaxResult(const std::vector<float>& scores) {
    const double top = *std::max_element(scores.begin(), scores.end());
    weights = Map(scores, [&](double score) { return std::exp(score - top); });
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (double& weight : weights) weight /= sum;
    log_sum = top + std::log(sum);
  }

  std::vector<double> weights;
  double log_sum;
};

TEST(SoftmaxTest, GivesWeightsAndTheLogarithmOfTheirSum) {
  for (const int64_t n : Lengths()) {
    const auto scores = Random<float>(n, 18, 10.0);
    auto weights = scores;
    const float log_sum = Softmax(n, weights.data());
    EXPECT_TRUE(Close(weights, SoftmaxResult(scores).weights));
    EXPECT_NEAR(log_sum, SoftmaxResult(scores).log_sum, 1e-5);
  }
}

TEST(SoftmaxTest, TakesScoresOfAnySize) {
  for (const std::vector<float>& scores :
       {std::vector<float>{1e4f, 1e4f, -1e4f}, {-1e30f, -1e30f}, {3e38f, -3e38f}, {88.0f, 0.0f}}) {
    auto weights = scores;
    Softmax(scores.size(), weights.data());
    EXPECT_TRUE(Close(weights, SoftmaxResult(scores).weights));
  }
}

TEST(SoftmaxTest, OfANaNIsNaN) {
  for (const int64_t position : {0, 3, 20}) {
    auto scores = Random<float>(21, 19);
    scores[position] = kNaN;
    Softmax(21, scores.data());
    for (const float weight : scores) EXPECT_TRUE(std::isnan(weight)) << position;
  }
}

TEST(ExpMinusTest, MakesTheWeightsOfSoftmaxAgain) {
  for (const int64_t n : Lengths()) {
    auto scores = Random<float>(n, 20, 10.0);
    auto weights = scores;
    ExpMinus(Softmax(n, weights.data()), n, scores.data());
    EXPECT_TRUE(Close(scores, weights, 1e-5));
  }
}

// exp itself, where neither overflow nor subnormal numbers are near: every number to 2 units in the
// last place.
TEST(ExpMinusTest, IsExactToTwoUnits) {
  std::vector<float> x;
  for (float value = -87.0f; value < 88.0f; value += 0.0101f) x.push_back(value);
  auto y = x;
  ExpMinus(0.0f, y.size(), y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = std::exp(double{x[i]});
    ASSERT_NEAR(y[i] / expected, 1.0, 2.5e-7) << "exp(" << x[i] << ")";
  }
}

TEST(ExpMinusTest, OfVerySmallNumbersIsNearlyZero) {
  std::vector<float> x = {-88.0f, -100.0f, -1e10f, -3.4e38f, -kInfinity};
  ExpMinus(0.0f, x.size(), x.data());
  for (const float value : x) {
    EXPECT_GE(value, 0.0f);
    EXPECT_LT(value, 1.2e-38f);
  }
}

TEST(SoftmaxGradientTest, AgreesWithTheFormula) {
  for (const int64_t n : Lengths()) {
    auto p = Random<float>(n, 21, 3.0);
    Softmax(n, p.data());
    auto dp = Random<float>(n, 22);
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i) sum += double{p[i]} * dp[i];
    std::vector<double> expected;
    for (int64_t i = 0; i < n; ++i) expected.push_back(p[i] * (dp[i] - sum) * 0.25);
    SoftmaxGradient(p.data(), 0.25f, n, dp.data());
    if (n == 1) {
      EXPECT_NEAR(dp[0], 0.0, 1e-7);  // a difference of equal numbers
    } else {
      EXPECT_TRUE(Close(dp, expected, 1e-5)) << n;
    }
  }
}

TEST(SumsBelowTopTest, AgreesWithTheFormulas) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 23, 10.0);
    float top, exp_sum, below_sum;
    SumsBelowTop(x.data(), n, &top, &exp_sum, &below_sum);
    const double largest = *std::max_element(x.begin(), x.end());
    double exps = 0.0, distances = 0.0;
    for (const float value : x) {
      exps += std::exp(value - largest);
      distances += value - largest;
    }
    EXPECT_EQ(top, largest);
    EXPECT_NEAR(exp_sum, exps, 1e-6 * exps);
    EXPECT_NEAR(below_sum, distances, -1e-6 * distances);
  }
}

TEST(SumsBelowTopTest, OfMinusInfinityAloneAreNoNaN) {
  const std::vector<float> x(21, -kInfinity);
  float top, exp_sum, below_sum;
  SumsBelowTop(x.data(), x.size(), &top, &exp_sum, &below_sum);
  EXPECT_EQ(top, std::numeric_limits<float>::lowest());
  EXPECT_LT(exp_sum, 1e-36f);
  EXPECT_EQ(below_sum, -kInfinity);
}

TEST(IndicesAboveTest, AreThoseOfLargerNumbers) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 15);
    for (const float bound : {-2.0f, -0.5f, x[n / 2], 0.9f, 2.0f}) {
      std::vector<int32_t> expected, actual(n);
      for (int64_t i = 0; i < n; ++i) {
        if (x[i] > bound) expected.push_back(i);
      }
      actual.resize(IndicesAbove(x.data(), n, bound, actual.data()));
      EXPECT_EQ(actual, expected);
    }
  }
}

TEST(AmountAboveTest, CountsAndSumsUp) {
  for (const int64_t n : {1, 7, 64, 1024, 1025, 5000}) {
    const auto x = Random<float>(n, 15);
    const auto weights = Map(Random<float>(n, 16), [](double v) { return v + 1.0; });
    const auto narrow = test::Convert<float>(weights);
    for (const float bound : {-kInfinity, -0.5f, x[n / 2], 0.9f, 2.0f}) {
      int64_t count = 0;
      double sum = 0.0;
      for (int64_t i = 0; i < n; ++i) {
        if (!(x[i] > bound)) continue;
        ++count;
        sum += narrow[i];
      }
      const Amount amount = AmountAbove(x.data(), narrow.data(), n, bound);
      EXPECT_EQ(amount.count, count);
      EXPECT_NEAR(amount.sum, sum, 1e-6 * sum);
    }
  }
}

TEST(AmountAboveTest, LeavesMinusInfinityOut) {
  const std::vector<float> x = {-kInfinity, 1.0f, -kInfinity}, weights = {5.0f, 2.0f, 5.0f};
  const Amount amount = AmountAbove(x.data(), weights.data(), 3, -kInfinity);
  EXPECT_EQ(amount.count, 1);
  EXPECT_EQ(amount.sum, 2.0);
}

TEST(ExpBelowTest, AgreesWithTheFormula) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 24, 10.0);
    const auto expected = Map(x, [](double v) { return std::exp((v - 10.0) * 0.7f); });
    auto y = Unwritten<float>(n);
    ExpBelow(x.data(), 10.0f, 0.7f, n, y.data());
    EXPECT_TRUE(Close(y, expected));
    auto in_place = x;
    ExpBelow(in_place.data(), 10.0f, 0.7f, n, in_place.data());
    EXPECT_TRUE(Identical(in_place, y));
  }
}

TEST(MayExceedTest, MissesNoneAndFindsFewOthers) {
  const Philox::RoundKeys keys(99);
  const SampleCounter counter = {1, 2, 3};
  int64_t found = 0, exceed = 0, all = 0;
  for (const int64_t n : {1, 7, 64, 67, 1000, 30000}) {
    for (const int64_t first : {int64_t{0}, int64_t{4}, int64_t{250000}}) {
      auto x = Random<float>(n, 24, 10.0);
      x[n / 2] = -kInfinity;
      for (const double bound : {-20.0, -3.0, 1.0, 8.0}) {
        std::vector<int32_t> indices(n);
        indices.resize(
            MayExceed(keys, counter, first, x.data(), n, 10.0f, 0.7f, bound, indices.data()));
        EXPECT_TRUE(std::is_sorted(indices.begin(), indices.end()));
        const auto at_most = [&](int64_t i) {
          return (x[i] - 10.0) * 0.7f + GumbelNoise(keys, counter, first + i) <= bound;
        };
        for (int64_t i = 0; i < n; ++i) {
          if (at_most(i)) continue;
          ++exceed;
          EXPECT_TRUE(std::binary_search(indices.begin(), indices.end(), i)) << i << " of " << n;
        }
        found += indices.size();
        all += n;
      }
    }
  }
  EXPECT_LT(found - exceed, (all - exceed) / 10);
}

TEST(MayExceedTest, FindsAllNumbersWithoutABound) {
  std::vector<float> x = Random<float>(100, 24, 10.0);
  x[5] = -kInfinity;
  std::vector<int32_t> indices(100);
  EXPECT_EQ(MayExceed(Philox::RoundKeys(1), {0, 0, 0}, 0, x.data(), 100, 10.0f, 0.7f, -kInfinity,
                      indices.data()),
            99);
}

TEST(ScaledExpMinusTest, AgreesWithTheFormula) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 24, 10.0);
    const auto expected = Map(x, [](double v) { return 0.3 * std::exp(v - 9.0) - 0.01; });
    auto y = Unwritten<float>(n);
    ScaledExpMinus(x.data(), 9.0f, 0.3f, 0.01f, n, y.data());
    EXPECT_TRUE(Close(y, expected));
    auto in_place = x;
    ScaledExpMinus(in_place.data(), 9.0f, 0.3f, 0.01f, n, in_place.data());
    EXPECT_TRUE(Identical(in_place, y));
  }
}

// --- Activations

float Value(Activation kind, float x) {
  float y;
  Activate(kind, &x, 1, &y);
  return y;
}

float Slope(Activation kind, float x) {
  const float one = 1.0f;
  float slope;
  ActivateGradient(kind, &x, &one, 1, &slope);
  return slope;
}

class ActivationTest : public ::testing::TestWithParam<Activation> {};

INSTANTIATE_TEST_SUITE_P(All, ActivationTest,
                         ::testing::Values(Activation::kRelu, Activation::kTanh, Activation::kGelu,
                                           Activation::kGeluErf, Activation::kSilu));

// Near zero, around it, and far away.
std::vector<float> Arguments() {
  std::vector<float> x;
  for (float value = -12.0f; value <= 12.0f; value += 0.0037f) x.push_back(value);
  for (float value = 1e-30f; value < 1e10f; value *= 1.7f) {
    x.push_back(value);
    x.push_back(-value);
  }
  x.push_back(0.0f);
  return x;
}

// Float32 does not know 1 + tanh(-4) any better.
TEST_P(ActivationTest, AgreesWithDoublePrecision) {
  const std::vector<float> x = Arguments();
  auto y = Unwritten<float>(x.size());
  Activate(GetParam(), x.data(), x.size(), y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = test::ActivationValue(GetParam(), x[i]);
    ASSERT_NEAR(y[i], expected, 1e-6 * (1.0 + std::fabs(expected))) << "at " << x[i];
  }
}

TEST_P(ActivationTest, HasTheSlopeOfDoublePrecision) {
  const std::vector<float> x = Arguments();
  const std::vector<float> dy(x.size(), 1.0f);
  auto dx = Unwritten<float>(x.size());
  ActivateGradient(GetParam(), x.data(), dy.data(), x.size(), dx.data());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(dx[i], test::ActivationSlope(GetParam(), x[i]), 5e-6) << "at " << x[i];
  }
}

TEST_P(ActivationTest, KeepsTinyNumbersExact) {
  for (const float x : {1e-3f, 1e-6f, 1e-12f, 1e-30f}) {
    EXPECT_NEAR(Value(GetParam(), x) / test::ActivationValue(GetParam(), x), 1.0, 1e-6) << x;
  }
}

TEST_P(ActivationTest, GradientMultipliesBySlope) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 23, 3.0);
    auto dy = Random<float>(n, 24);
    std::vector<double> expected;
    for (int64_t i = 0; i < n; ++i)
      expected.push_back(dy[i] * test::ActivationSlope(GetParam(), x[i]));
    ActivateGradient(GetParam(), x.data(), dy.data(), n, dy.data());
    EXPECT_TRUE(Close(dy, expected, 1e-5)) << n;
  }
}

TEST_P(ActivationTest, DoesNotDependOnTheLength) {
  const auto x = Random<float>(100, 25, 5.0);
  std::vector<float> whole(100);
  Activate(GetParam(), x.data(), 100, whole.data());
  for (const int64_t n : {1, 7, 16, 33}) {
    std::vector<float> part(n);
    Activate(GetParam(), x.data(), n, part.data());
    EXPECT_TRUE(Close(part, std::vector<float>(whole.begin(), whole.begin() + n), 2e-7));
  }
}

TEST_P(ActivationTest, PropagatesNaN) {
  for (const int64_t position : {0, 5, 18}) {
    auto x = Random<float>(19, 26);
    x[position] = kNaN;
    std::vector<float> y(19);
    Activate(GetParam(), x.data(), 19, y.data());
    for (int64_t i = 0; i < 19; ++i) EXPECT_EQ(std::isnan(y[i]), i == position);
  }
}

TEST_P(ActivationTest, GradientPropagatesNaN) {
  const float x = 1.0f;
  float dx;
  ActivateGradient(GetParam(), &x, &kNaN, 1, &dx);
  EXPECT_TRUE(std::isnan(dx));
}

TEST_P(ActivationTest, TakesTheLargestNumbers) {
  const float limit = GetParam() == Activation::kTanh ? 1.0f : 3e38f;
  EXPECT_EQ(Value(GetParam(), 3e38f), limit);
  EXPECT_EQ(Value(GetParam(), -3e38f), GetParam() == Activation::kTanh ? -1.0f : 0.0f);
  const float slope = GetParam() == Activation::kTanh ? 0.0f : 1.0f;
  EXPECT_NEAR(Slope(GetParam(), 3e38f), slope, 1e-6);
  EXPECT_NEAR(Slope(GetParam(), -3e38f), 0.0, 1e-6);
}

TEST(ActivateTest, TakesInfinity) {
  EXPECT_EQ(Value(Activation::kRelu, kInfinity), kInfinity);
  EXPECT_EQ(Value(Activation::kRelu, -kInfinity), 0.0f);
  EXPECT_EQ(Value(Activation::kTanh, kInfinity), 1.0f);
  EXPECT_EQ(Value(Activation::kTanh, -kInfinity), -1.0f);
  EXPECT_EQ(Value(Activation::kGelu, kInfinity), kInfinity);
  EXPECT_EQ(Value(Activation::kGeluErf, kInfinity), kInfinity);
  EXPECT_EQ(Value(Activation::kSilu, kInfinity), kInfinity);
}

// --- Adam

TEST(ScaleAndClipTest, HoldsProductsWithinTheBound) {
  for (const int64_t n : Lengths()) {
    auto x = Random<float>(n, 27, 2.0);
    x[0] = kInfinity;
    std::vector<float> expected;
    for (const float value : x) expected.push_back(std::min(0.7f, std::max(-0.7f, value * -0.5f)));
    auto y = Unwritten<float>(n);
    ScaleAndClip(x.data(), -0.5f, 0.7f, n, y.data());
    EXPECT_TRUE(Identical(y, expected)) << n;
  }
}

TEST(ScaleAndClipTest, WithoutBoundScalesOnly) {
  const std::vector<float> x = {1.0f, -3e38f, kInfinity, -kInfinity};
  std::vector<float> y(4);
  ScaleAndClip(x.data(), 0.5f, kInfinity, 4, y.data());
  EXPECT_TRUE(Identical(y, {0.5f, -1.5e38f, kInfinity, -kInfinity}));
}

TEST(ScaleAndClipTest, KeepsNaN) {
  const std::vector<float> x(20, kNaN);
  std::vector<float> y(20);
  ScaleAndClip(x.data(), 2.0f, 1.0f, 20, y.data());
  for (const float value : y) EXPECT_TRUE(std::isnan(value));
}

TEST(SumOfSquaresTest, IsTheirSum) {
  for (const int64_t n : Lengths()) {
    const auto x = Random<float>(n, 28);
    const double expected = std::inner_product(x.begin(), x.end(), x.begin(), 0.0, std::plus<>(),
                                               std::multiplies<double>());
    EXPECT_NEAR(SumOfSquares(x.data(), n) / expected, 1.0, 1e-12) << n;
  }
  EXPECT_EQ(SumOfSquares(nullptr, 0), 0.0);
}

TEST(SumOfSquaresTest, IsFiniteIfAllNumbersAre) {
  for (const int64_t position : {0, 5, 36}) {
    std::vector<float> x(37, 3e38f);
    EXPECT_TRUE(std::isfinite(SumOfSquares(x.data(), 37)));
    for (const float bad : {kInfinity, -kInfinity, kNaN}) {
      x[position] = bad;
      EXPECT_FALSE(std::isfinite(SumOfSquares(x.data(), 37))) << bad << " at " << position;
    }
  }
}

TEST(AdamTest, AgreesWithDoublePrecision) {
  const AdamCoefficients c = {0.5f, 0.1f, 0.02f, 0.01f, 1e-3f, 0.05f};
  for (const int64_t n : Lengths()) {
    const auto gradient = Random<float>(n, 29);
    auto m = Random<float>(n, 30);
    auto v = Random<float>(n, 31);
    auto variable = Random<float>(n, 32);
    for (float& value : v) value = std::fabs(value);
    std::vector<double> expected_m, expected_v, expected;
    for (int64_t i = 0; i < n; ++i) {
      const double g = double{gradient[i]} * c.gradient_factor;
      expected_m.push_back(m[i] + (g - m[i]) * c.one_minus_beta1);
      expected_v.push_back(v[i] + (g * g - v[i]) * c.one_minus_beta2);
      expected.push_back(variable[i] * (1.0 - c.decay) -
                         c.rate * expected_m[i] / (std::sqrt(expected_v[i]) + c.epsilon));
    }
    Adam(c, gradient.data(), n, m.data(), v.data(), variable.data());
    EXPECT_TRUE(Close(m, expected_m)) << n;
    EXPECT_TRUE(Close(v, expected_v)) << n;
    EXPECT_TRUE(Close(variable, expected)) << n;
  }
}

// --- Dropout

TEST(DropoutMaskTest, IsPhiloxElementByElement) {
  const Dropout dropout{0.3f, 0x0123456789abcdef, DropoutSite::kFfnOutput};
  for (int64_t n = 1; n <= 200; ++n) {
    auto mask = Unwritten<float>(n);
    DropoutMask(dropout, /*row=*/n, /*lane=*/7, n, mask.data());
    std::vector<float> expected;
    for (int64_t j = 0; j < n; ++j) expected.push_back(test::DropoutFactor(dropout, n, 7, j));
    EXPECT_TRUE(Close(mask, expected, 1e-7)) << n;
  }
}

TEST(DropoutMaskTest, UsesAllBitsOfSeedRowAndLane) {
  const auto mask = [](uint64_t seed, uint32_t row, uint32_t lane, DropoutSite site) {
    std::vector<float> values(64);
    DropoutMask({0.5f, seed, site}, row, lane, 64, values.data());
    return values;
  };
  const auto base = mask(1, 2, 3, DropoutSite::kActivation);
  EXPECT_EQ(base, mask(1, 2, 3, DropoutSite::kActivation));
  EXPECT_NE(base, mask(2, 2, 3, DropoutSite::kActivation));
  EXPECT_NE(base, mask(1 | uint64_t{1} << 63, 2, 3, DropoutSite::kActivation));
  EXPECT_NE(base, mask(1, 0x80000002, 3, DropoutSite::kActivation));
  EXPECT_NE(base, mask(1, 2, 0x80000003, DropoutSite::kActivation));
  EXPECT_NE(base, mask(1, 2, 3, DropoutSite::kFfnOutput));
}

TEST(DropoutMaskTest, KeepsItsShare) {
  constexpr int64_t kCount = 200000;
  for (const float rate : {0.01f, 0.1f, 0.5f, 0.9f}) {
    std::vector<float> mask(kCount);
    DropoutMask({rate, 42, DropoutSite::kStandalone}, 0, 0, kCount, mask.data());
    const double dropped = std::count(mask.begin(), mask.end(), 0.0f);
    const double deviation = std::sqrt(kCount * rate * (1.0 - rate));
    EXPECT_NEAR(dropped, kCount * double{rate}, 4.0 * deviation);
    EXPECT_NEAR(std::accumulate(mask.begin(), mask.end(), 0.0) / kCount, 1.0,
                4.0 * deviation / (1.0 - rate) / kCount);
  }
}

TEST(DropoutMaskTest, DropsEverythingAtRateOne) {
  std::vector<float> mask(1000);
  DropoutMask({1.0f, 42, DropoutSite::kStandalone}, 0, 0, 1000, mask.data());
  EXPECT_EQ(mask, std::vector<float>(1000, 0.0f));
}

}  // namespace
}  // namespace row
}  // namespace tf_ls
