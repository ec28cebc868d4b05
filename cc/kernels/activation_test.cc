#include "cc/kernels/activation.h"

#include <cmath>
#include <limits>
#include <vector>

#include "cc/kernels/row_math.h"
#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/dropout_mask.h"
#include "cc/testing/reference_activation.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::DropoutFactors;
using test::Identical;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

constexpr Activation kAll[] = {Activation::kRelu, Activation::kTanh, Activation::kGelu,
                               Activation::kGeluErf, Activation::kSilu};
constexpr int64_t kLengths[] = {1, 5, 16, 67, 264};
const Dropout kDropouts[] = {{}, {0.4f, 99, DropoutSite::kActivation}};

// The functions themselves are tested in row_math_test.cc; here it is what is done with them.
template <typename T>
std::vector<double> Expected(Activation kind, const Dropout& dropout, const std::vector<T>& x,
                             int64_t rows, int64_t n) {
  const auto wide = Convert<float>(x);
  std::vector<float> y(x.size());
  row::Activate(kind, wide.data(), wide.size(), y.data());
  auto expected = DropoutFactors(dropout, rows, n);
  for (size_t i = 0; i < y.size(); ++i) expected[i] *= y[i];
  return expected;
}

template <typename T>
std::vector<double> ExpectedGradient(Activation kind, const Dropout& dropout,
                                     const std::vector<T>& x, const std::vector<T>& dy,
                                     int64_t rows, int64_t n) {
  const auto wide_x = Convert<float>(x);
  const auto wide_dy = Convert<float>(dy);
  std::vector<float> dx(x.size());
  row::ActivateGradient(kind, wide_x.data(), wide_dy.data(), wide_x.size(), dx.data());
  auto expected = DropoutFactors(dropout, rows, n);
  for (size_t i = 0; i < dx.size(); ++i) expected[i] *= dx[i];
  return expected;
}

std::vector<double> Sums(const std::vector<double>& x, int64_t n) {
  std::vector<double> sums(n, 0.0);
  for (size_t i = 0; i < x.size(); ++i) sums[i % n] += x[i];
  return sums;
}

template <typename DeviceAndType>
class ActivationDropoutTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  std::vector<T> Activate(Activation kind, const Dropout& dropout, const std::vector<T>& x,
                          int64_t n) {
    const Numbers<T> in(x);
    Numbers<T> y(Unwritten<T>(x.size()));
    ActivationDropout(device_, kind, dropout, in.data(), x.size() / n, n, y.data());
    return y.host();
  }

  struct Gradients {
    std::vector<T> y, dx;
    std::vector<float> dbias;
  };

  Gradients AllGradients(Activation kind, const Dropout& dropout, const std::vector<T>& x,
                         const std::vector<T>& dy, int64_t n) {
    const Numbers<T> in(x), gradient(dy);
    Numbers<T> y(Unwritten<T>(x.size())), dx(Unwritten<T>(x.size()));
    Numbers<float> dbias(Unwritten<float>(n));
    ColumnSums<Device> sums(device_);
    ActivationDropoutGradient(device_, kind, dropout, in.data(), gradient.data(), x.size() / n, n,
                              y.data(), dx.data(), dbias.data(), &sums);
    sums.Finish();
    return {y.host(), dx.host(), dbias.host()};
  }
  std::vector<T> Gradient(Activation kind, const Dropout& dropout, const std::vector<T>& x,
                          const std::vector<T>& dy, int64_t n) {
    return AllGradients(kind, dropout, x, dy, n).dx;
  }

  // From relu's result.
  Gradients ReluGradients(const Dropout& dropout, const std::vector<T>& y, const std::vector<T>& dy,
                          int64_t n) {
    const Numbers<T> out(y), gradient(dy);
    Numbers<T> dx(Unwritten<T>(y.size()));
    Numbers<float> dbias(Unwritten<float>(n));
    ColumnSums<Device> sums(device_);
    ReluDropoutGradient(device_, dropout, out.data(), gradient.data(), y.size() / n, n, dx.data(),
                        dbias.data(), &sums);
    sums.Finish();
    return {y, dx.host(), dbias.host()};
  }

  const typename Testing<Device>::Instance test_device_;
  const Device& device_ = test_device_;
};

TYPED_TEST_SUITE(ActivationDropoutTest, test::DeviceTypes);

TYPED_TEST(ActivationDropoutTest, ActivatesThenDrops) {
  for (const Activation kind : kAll) {
    for (const Dropout& dropout : kDropouts) {
      for (const int64_t n : kLengths) {
        const auto x = Random<typename TestFixture::T>(9 * n, 1, 3.0);
        EXPECT_TRUE(Close(this->Activate(kind, dropout, x, n), Expected(kind, dropout, x, 9, n)));
      }
    }
  }
}

TYPED_TEST(ActivationDropoutTest, GradientDropsTheSameNumbers) {
  using T = typename TestFixture::T;
  for (const Activation kind : kAll) {
    for (const Dropout& dropout : kDropouts) {
      for (const int64_t n : kLengths) {
        const auto x = Random<T>(9 * n, 2, 3.0);
        const auto dy = Random<T>(9 * n, 3);
        const auto result = this->AllGradients(kind, dropout, x, dy, n);
        const auto expected = ExpectedGradient(kind, dropout, x, dy, 9, n);
        EXPECT_TRUE(Close(result.dx, expected));
        EXPECT_TRUE(Close(result.dbias, Sums(expected, n), 1e-5));
        EXPECT_TRUE(Identical(result.y, this->Activate(kind, dropout, x, n)));
      }
    }
  }
}

TYPED_TEST(ActivationDropoutTest, GradientSumsManyRows) {
  using T = typename TestFixture::T;
  for (const int64_t n : {264, 261}) {
    const auto x = Random<T>(1500 * n, 7, 3.0);
    const auto dy = Random<T>(1500 * n, 8);
    const auto result = this->AllGradients(Activation::kGelu, kDropouts[1], x, dy, n);
    const auto expected = ExpectedGradient(Activation::kGelu, kDropouts[1], x, dy, 1500, n);
    EXPECT_TRUE(Close(result.dx, expected));
    EXPECT_TRUE(Close(result.dbias, Sums(expected, n), 1e-5));
  }
}

TYPED_TEST(ActivationDropoutTest, GradientOfReluIsTheSameFromItsResult) {
  using T = typename TestFixture::T;
  for (const Dropout& dropout :
       {kDropouts[0], kDropouts[1], {1.0f, 99, DropoutSite::kActivation}}) {
    for (const int64_t n : kLengths) {
      const auto x = Random<T>(150 * n, 2, 3.0);
      const auto dy = Random<T>(150 * n, 3);
      const auto expected = this->AllGradients(Activation::kRelu, dropout, x, dy, n);
      const auto result = this->ReluGradients(dropout, expected.y, dy, n);
      EXPECT_TRUE(Close(result.dx, expected.dx, 0.0));
      EXPECT_TRUE(Close(result.dbias, expected.dbias, 0.0));
    }
  }
}

TYPED_TEST(ActivationDropoutTest, GradientOfReluFromItsResultPassesNaNOn) {
  using T = typename TestFixture::T;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto result = this->ReluGradients(kDropouts[1], Convert<T>(std::vector<double>{0.0, 1.0}),
                                          Convert<T>(std::vector<double>{nan, nan}), 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(std::isnan(Value(result.dx[i])));
    EXPECT_TRUE(std::isnan(result.dbias[i]));
  }
}

TYPED_TEST(ActivationDropoutTest, AgreesWithDoublePrecision) {
  using T = typename TestFixture::T;
  for (const Activation kind : kAll) {
    for (const double limit : {1e-2, 1.0, 12.0}) {
      const auto x = Random<T>(5000, 6, limit);
      const std::vector<T> ones = Convert<T>(std::vector<float>(5000, 1.0f));
      std::vector<double> values, slopes;
      for (const T value : x) {
        values.push_back(test::ActivationValue(kind, Value(value)));
        slopes.push_back(test::ActivationSlope(kind, Value(value)));
      }
      EXPECT_TRUE(Close(this->Activate(kind, {}, x, 1000), values)) << limit;
      EXPECT_TRUE(Close(this->Gradient(kind, {}, x, ones, 1000), slopes)) << limit;
    }
  }
}

TYPED_TEST(ActivationDropoutTest, TakesTheLargestNumbersAndNaN) {
  using T = typename TestFixture::T;
  const auto numbers = [](const std::vector<double>& x) { return Convert<T>(x); };
  for (const double large : {6e4, 3e38}) {
    const auto x = numbers({large, -large, std::numeric_limits<double>::quiet_NaN(), 0.0});
    if (std::isinf(Value(x[0]))) continue;  // no number of this type
    for (const Activation kind : kAll) {
      const bool bounded = kind == Activation::kTanh;
      const auto y = this->Activate(kind, {}, x, 4);
      EXPECT_EQ(Value(y[0]), bounded ? 1.0 : Value(x[0]));
      EXPECT_EQ(Value(y[1]), bounded ? -1.0 : 0.0);
      EXPECT_TRUE(std::isnan(Value(y[2])));
      EXPECT_EQ(Value(y[3]), 0.0);
      const auto dx = this->Gradient(kind, {}, x, numbers({1.0, 1.0, 1.0, NAN}), 4);
      EXPECT_NEAR(Value(dx[0]), bounded ? 0.0 : 1.0, 1e-6);
      EXPECT_NEAR(Value(dx[1]), 0.0, 1e-6);
      EXPECT_TRUE(std::isnan(Value(dx[2])) || kind == Activation::kRelu);
      EXPECT_TRUE(std::isnan(Value(dx[3])));
    }
  }
}

TYPED_TEST(ActivationDropoutTest, WorksInPlace) {
  using T = typename TestFixture::T;
  using Numbers = typename TestFixture::template Numbers<T>;
  for (const Activation kind : kAll) {
    for (const int64_t n : {21, 32}) {
      const auto x = Random<T>(9 * n, 4, 3.0);
      const auto dy = Random<T>(9 * n, 5);
      const auto expected = this->AllGradients(kind, kDropouts[1], x, dy, n);
      const Numbers in(x);
      Numbers over_x(x), over_dy(dy), y(Unwritten<T>(9 * n));
      typename TestFixture::template Numbers<float> dbias(Unwritten<float>(n));
      ColumnSums<typename TestFixture::Device> sums(this->device_);
      ActivationDropout(this->device_, kind, kDropouts[1], over_x.data(), 9, n, over_x.data());
      EXPECT_TRUE(Identical(over_x.host(), expected.y));
      ActivationDropoutGradient(this->device_, kind, kDropouts[1], in.data(), over_dy.data(), 9, n,
                                y.data(), over_dy.data(), dbias.data(), &sums);
      EXPECT_TRUE(Identical(over_dy.host(), expected.dx));
      if (kind != Activation::kRelu) continue;
      Numbers again(dy);
      ReluDropoutGradient(this->device_, kDropouts[1], y.data(), again.data(), 9, n, again.data(),
                          dbias.data(), &sums);
      EXPECT_TRUE(Close(again.host(), expected.dx, 0.0));
    }
  }
}

TYPED_TEST(ActivationDropoutTest, TakesNoRows) {
  EXPECT_TRUE(this->Activate(Activation::kGelu, kDropouts[1], {}, 5).empty());
  const std::vector<float> zeros(5, 0.0f);
  EXPECT_TRUE(
      Identical(this->AllGradients(Activation::kGelu, kDropouts[1], {}, {}, 5).dbias, zeros));
  EXPECT_TRUE(Identical(this->ReluGradients(kDropouts[1], {}, {}, 5).dbias, zeros));
}

}  // namespace
}  // namespace tf_ls
