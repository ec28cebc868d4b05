#include "cc/kernels/activation.h"

#include <cmath>
#include <vector>

#include "cc/kernels/row_math.h"
#include "cc/testing/closeness.h"
#include "cc/testing/dropout_mask.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::DropoutFactors;
using test::Identical;
using test::Random;
using test::TestCpu;
using test::Unwritten;

constexpr Activation kAll[] = {Activation::kRelu, Activation::kTanh, Activation::kGelu,
                               Activation::kGeluErf};
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

template <typename T>
class ActivationDropoutTest : public ::testing::Test {};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(ActivationDropoutTest, Types);

TYPED_TEST(ActivationDropoutTest, ActivatesThenDrops) {
  for (const Activation kind : kAll) {
    for (const Dropout& dropout : kDropouts) {
      for (const int64_t n : {1, 5, 16, 67}) {
        const auto x = Random<TypeParam>(9 * n, 1, 3.0);
        auto y = Unwritten<TypeParam>(9 * n);
        ActivationDropout(TestCpu(), kind, dropout, x.data(), 9, n, y.data());
        EXPECT_TRUE(Close(y, Expected(kind, dropout, x, 9, n)));
      }
    }
  }
}

TYPED_TEST(ActivationDropoutTest, GradientDropsTheSameNumbers) {
  for (const Activation kind : kAll) {
    for (const Dropout& dropout : kDropouts) {
      for (const int64_t n : {1, 5, 16, 67}) {
        const auto x = Random<TypeParam>(9 * n, 2, 3.0);
        const auto dy = Random<TypeParam>(9 * n, 3);
        auto dx = Unwritten<TypeParam>(9 * n);
        ActivationDropoutGradient(TestCpu(), kind, dropout, x.data(), dy.data(), 9, n, dx.data());
        EXPECT_TRUE(Close(dx, ExpectedGradient(kind, dropout, x, dy, 9, n)));
      }
    }
  }
}

TYPED_TEST(ActivationDropoutTest, GradientWorksInPlace) {
  for (const Activation kind : kAll) {
    const auto x = Random<TypeParam>(9 * 21, 4, 3.0);
    auto dy = Random<TypeParam>(9 * 21, 5);
    std::vector<TypeParam> dx(9 * 21);
    ActivationDropoutGradient(TestCpu(), kind, kDropouts[1], x.data(), dy.data(), 9, 21, dx.data());
    ActivationDropoutGradient(TestCpu(), kind, kDropouts[1], x.data(), dy.data(), 9, 21, dy.data());
    EXPECT_TRUE(Identical(dy, dx));
  }
}

TYPED_TEST(ActivationDropoutTest, TakesNoRows) {
  TypeParam* const none = nullptr;
  ActivationDropout<TypeParam>(TestCpu(), Activation::kGelu, kDropouts[1], none, 0, 5, none);
  ActivationDropoutGradient<TypeParam>(TestCpu(), Activation::kGelu, kDropouts[1], none, none, 0, 5,
                                       none);
}

}  // namespace
}  // namespace tf_ls
