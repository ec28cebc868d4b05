#include "cc/kernels/dropout.h"

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

constexpr int64_t kRows = 11;

template <typename T>
class DropoutTest : public ::testing::Test {
 protected:
  static std::vector<double> Expected(const Dropout& dropout, const std::vector<T>& x, int64_t n,
                                      const std::vector<T>& residual = {}) {
    auto expected = DropoutFactors(dropout, kRows, n);
    for (int64_t i = 0; i < kRows * n; ++i) {
      expected[i] *= Value(x[i]);
      if (!residual.empty()) expected[i] += Value(residual[i]);
    }
    return expected;
  }

  const Dropout dropouts_[3] = {
      {},
      {0.1f, 0xfedcba9876543210, DropoutSite::kSelfAttentionOutput},
      {0.6f, 12, DropoutSite::kFfnOutput},
  };
};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(DropoutTest, Types);

TYPED_TEST(DropoutTest, MultipliesByTheMask) {
  for (const Dropout& dropout : this->dropouts_) {
    for (const int64_t n : {1, 3, 64, 65, 300}) {
      const auto x = Random<TypeParam>(kRows * n, 1);
      auto y = Unwritten<TypeParam>(kRows * n);
      ApplyDropout(TestCpu(), dropout, x.data(), kRows, n, y.data());
      EXPECT_TRUE(Close(y, this->Expected(dropout, x, n)));
    }
  }
}

TYPED_TEST(DropoutTest, AddsTheResidual) {
  for (const Dropout& dropout : this->dropouts_) {
    for (const int64_t n : {1, 3, 64, 65, 300}) {
      const auto x = Random<TypeParam>(kRows * n, 2);
      const auto residual = Random<TypeParam>(kRows * n, 3);
      auto y = Unwritten<TypeParam>(kRows * n);
      DropoutAdd(TestCpu(), dropout, x.data(), residual.data(), kRows, n, y.data());
      EXPECT_TRUE(Close(y, this->Expected(dropout, x, n, residual)));
    }
  }
}

TYPED_TEST(DropoutTest, WorksInPlace) {
  for (const Dropout& dropout : this->dropouts_) {
    const auto x = Random<TypeParam>(kRows * 37, 4);
    const auto residual = Random<TypeParam>(kRows * 37, 5);
    std::vector<TypeParam> dropped(kRows * 37), sum(kRows * 37);
    ApplyDropout(TestCpu(), dropout, x.data(), kRows, 37, dropped.data());
    DropoutAdd(TestCpu(), dropout, x.data(), residual.data(), kRows, 37, sum.data());

    auto over_x = x;
    ApplyDropout(TestCpu(), dropout, over_x.data(), kRows, 37, over_x.data());
    EXPECT_TRUE(Identical(over_x, dropped));
    over_x = x;
    DropoutAdd(TestCpu(), dropout, over_x.data(), residual.data(), kRows, 37, over_x.data());
    EXPECT_TRUE(Identical(over_x, sum));
    auto over_residual = residual;
    DropoutAdd(TestCpu(), dropout, x.data(), over_residual.data(), kRows, 37, over_residual.data());
    EXPECT_TRUE(Identical(over_residual, sum));
  }
}

TYPED_TEST(DropoutTest, DropsEverythingAtRateOne) {
  const Dropout all{1.0f, 3, DropoutSite::kStandalone};
  const auto x = Random<TypeParam>(kRows * 20, 6);
  auto y = Unwritten<TypeParam>(kRows * 20);
  ApplyDropout(TestCpu(), all, x.data(), kRows, 20, y.data());
  EXPECT_TRUE(Close(y, std::vector<double>(kRows * 20, 0.0), 0.0));
  DropoutAdd(TestCpu(), all, x.data(), x.data(), kRows, 20, y.data());
  EXPECT_TRUE(Close(y, x, 0.0));
}

TYPED_TEST(DropoutTest, TakesNoRows) {
  TypeParam* const none = nullptr;
  for (const Dropout& dropout : this->dropouts_) {
    ApplyDropout<TypeParam>(TestCpu(), dropout, none, 0, 5, none);
    DropoutAdd<TypeParam>(TestCpu(), dropout, none, none, 0, 5, none);
  }
}

}  // namespace
}  // namespace tf_ls
