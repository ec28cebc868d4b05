#include "cc/kernels/dropout.h"

#include <vector>

#include "cc/kernels/row_math.h"
#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/dropout_mask.h"
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

constexpr int64_t kRows = 11;
constexpr int64_t kLengths[] = {1, 3, 64, 65, 300, 1032};

template <typename DeviceAndType>
class DropoutTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  static std::vector<double> Expected(const Dropout& dropout, const std::vector<T>& x, int64_t n,
                                      const std::vector<T>& residual = {}) {
    auto expected = DropoutFactors(dropout, kRows, n);
    for (int64_t i = 0; i < kRows * n; ++i) {
      expected[i] *= Value(x[i]);
      if (!residual.empty()) expected[i] += Value(residual[i]);
    }
    return expected;
  }

  std::vector<T> Apply(const Dropout& dropout, const std::vector<T>& x, int64_t n) {
    const Numbers<T> in(x);
    Numbers<T> y(Unwritten<T>(x.size()));
    ApplyDropout(device_, dropout, in.data(), x.size() / n, n, y.data());
    return y.host();
  }

  std::vector<T> Add(const Dropout& dropout, const std::vector<T>& x,
                     const std::vector<T>& residual, int64_t n) {
    const Numbers<T> in(x), base(residual);
    Numbers<T> y(Unwritten<T>(x.size()));
    DropoutAdd(device_, dropout, in.data(), base.data(), x.size() / n, n, y.data());
    return y.host();
  }

  const Dropout dropouts_[3] = {
      {},
      {0.1f, 0xfedcba9876543210, DropoutSite::kSelfAttentionOutput},
      {0.6f, 12, DropoutSite::kFfnOutput},
  };
  const typename Testing<Device>::Instance test_device_;
  const Device& device_ = test_device_;
};

TYPED_TEST_SUITE(DropoutTest, test::DeviceTypes);

TYPED_TEST(DropoutTest, MultipliesByTheMask) {
  for (const Dropout& dropout : this->dropouts_) {
    for (const int64_t n : kLengths) {
      const auto x = Random<typename TestFixture::T>(kRows * n, 1);
      EXPECT_TRUE(Close(this->Apply(dropout, x, n), this->Expected(dropout, x, n)));
    }
  }
}

TYPED_TEST(DropoutTest, AddsTheResidual) {
  using T = typename TestFixture::T;
  for (const Dropout& dropout : this->dropouts_) {
    for (const int64_t n : kLengths) {
      const auto x = Random<T>(kRows * n, 2);
      const auto residual = Random<T>(kRows * n, 3);
      EXPECT_TRUE(
          Close(this->Add(dropout, x, residual, n), this->Expected(dropout, x, n, residual)));
    }
  }
}

TYPED_TEST(DropoutTest, GradientIsSummedForABias) {
  using T = typename TestFixture::T;
  for (const Dropout& dropout : this->dropouts_) {
    for (const int64_t n : kLengths) {
      const auto dy = Random<T>(kRows * n, 6);
      const auto expected = this->Expected(dropout, dy, n);
      std::vector<double> expected_sums(n, 0.0);
      for (int64_t i = 0; i < kRows * n; ++i) expected_sums[i % n] += expected[i];
      const typename TestFixture::template Numbers<T> in(dy);
      typename TestFixture::template Numbers<T> dx(Unwritten<T>(dy.size())), over_dy(dy);
      typename TestFixture::template Numbers<float> dbias(Unwritten<float>(n));
      ColumnSums<typename TestFixture::Device> sums(this->device_);
      DropoutBiasGradient(this->device_, dropout, in.data(), kRows, n, dx.data(), dbias.data(),
                          &sums);
      sums.Finish();
      EXPECT_TRUE(Close(dx.host(), expected));
      EXPECT_TRUE(Close(dbias.host(), expected_sums, 1e-5));
      DropoutBiasGradient(this->device_, dropout, over_dy.data(), kRows, n, over_dy.data(),
                          dbias.data(), &sums);
      EXPECT_TRUE(Identical(over_dy.host(), dx.host()));
    }
  }
}

TYPED_TEST(DropoutTest, BiasGradientOfNoRowsIsZero) {
  using T = typename TestFixture::T;
  typename TestFixture::template Numbers<float> dbias(Unwritten<float>(5));
  ColumnSums<typename TestFixture::Device> sums(this->device_);
  T* const none = nullptr;
  DropoutBiasGradient<T>(this->device_, this->dropouts_[1], none, 0, 5, none, dbias.data(), &sums);
  sums.Finish();
  EXPECT_TRUE(Identical(dbias.host(), std::vector<float>(5, 0.0f)));
}

// Forward on one device and backward on another would agree: bit for bit.
TYPED_TEST(DropoutTest, HasTheMasksOfRowMathOnEveryDevice) {
  using T = typename TestFixture::T;
  T one;
  test::Assign(1.0, &one);
  for (const Dropout& dropout : {this->dropouts_[1], this->dropouts_[2]}) {
    for (const int64_t n : kLengths) {
      std::vector<float> masks(kRows * n);
      for (int64_t i = 0; i < kRows; ++i) row::DropoutMask(dropout, i, 0, n, &masks[i * n]);
      const auto dropped = this->Apply(dropout, std::vector<T>(kRows * n, one), n);
      EXPECT_TRUE(Identical(dropped, Convert<T>(masks))) << n;
    }
  }
}

TYPED_TEST(DropoutTest, WorksInPlace) {
  using T = typename TestFixture::T;
  using Numbers = typename TestFixture::template Numbers<T>;
  for (const Dropout& dropout : this->dropouts_) {
    for (const int64_t n : {37, 64}) {
      const auto x = Random<T>(kRows * n, 4);
      const auto residual = Random<T>(kRows * n, 5);
      const auto dropped = this->Apply(dropout, x, n);
      const auto sum = this->Add(dropout, x, residual, n);

      Numbers over_x(x);
      ApplyDropout(this->device_, dropout, over_x.data(), kRows, n, over_x.data());
      EXPECT_TRUE(Identical(over_x.host(), dropped));
      const Numbers in(x), base(residual);
      Numbers over_x_too(x), over_residual(residual);
      DropoutAdd(this->device_, dropout, over_x_too.data(), base.data(), kRows, n,
                 over_x_too.data());
      EXPECT_TRUE(Identical(over_x_too.host(), sum));
      DropoutAdd(this->device_, dropout, in.data(), over_residual.data(), kRows, n,
                 over_residual.data());
      EXPECT_TRUE(Identical(over_residual.host(), sum));
    }
  }
}

TYPED_TEST(DropoutTest, DropsEverythingAtRateOne) {
  using T = typename TestFixture::T;
  const Dropout all{1.0f, 3, DropoutSite::kStandalone};
  const auto x = Random<T>(kRows * 20, 6);
  EXPECT_TRUE(Close(this->Apply(all, x, 20), std::vector<double>(kRows * 20, 0.0), 0.0));
  EXPECT_TRUE(Close(this->Add(all, x, x, 20), x, 0.0));
}

TYPED_TEST(DropoutTest, TakesNoRows) {
  using T = typename TestFixture::T;
  T* const none = nullptr;
  for (const Dropout& dropout : this->dropouts_) {
    ApplyDropout<T>(this->device_, dropout, none, 0, 5, none);
    DropoutAdd<T>(this->device_, dropout, none, none, 0, 5, none);
  }
}

}  // namespace
}  // namespace tf_ls
