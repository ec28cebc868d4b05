#include "cc/kernels/column_sum.h"

#include <utility>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Identical;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

template <typename DeviceAndType>
class ColumnSumTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  static std::vector<float> Sum(const std::vector<T>& x, int64_t rows, int64_t n, int threads = 2) {
    const typename Testing<Device>::Instance test_device(threads);
    const Device& device = test_device;
    const Numbers<T> in(x);
    Numbers<float> y(Unwritten<float>(n));
    ColumnSums<Device> sums(device);
    ColumnSum(device, in.data(), rows, n, y.data(), &sums);
    sums.Finish();
    return y.host();
  }
};

TYPED_TEST_SUITE(ColumnSumTest, test::DeviceTypes);

TYPED_TEST(ColumnSumTest, AddsTheRows) {
  using T = typename TestFixture::T;
  for (const int64_t rows : {0, 1, 2, 64, 65, 127, 128, 129, 400, 1000}) {
    for (const int64_t n : {1, 3, 16, 100, 256, 264, 1001}) {
      const auto x = Random<T>(rows * n, 1);
      std::vector<double> expected(n, 0.0);
      for (int64_t i = 0; i < rows * n; ++i) expected[i % n] += Value(x[i]);
      EXPECT_TRUE(Close(this->Sum(x, rows, n), expected, 1e-5)) << rows << " rows of " << n;
    }
  }
}

// Where a device may divide the work otherwise.
TYPED_TEST(ColumnSumTest, TakesManyRowsAndManyColumns) {
  using T = typename TestFixture::T;
  for (const auto& size :
       {std::pair<int64_t, int64_t>{3, 200000}, {5000, 264}, {5000, 261}, {70001, 1}}) {
    const auto [rows, n] = size;
    const auto x = Random<T>(rows * n, 2);
    std::vector<double> expected(n, 0.0);
    for (int64_t i = 0; i < rows * n; ++i) expected[i % n] += Value(x[i]);
    EXPECT_TRUE(Close(this->Sum(x, rows, n), expected, 1e-5)) << rows << " rows of " << n;
  }
}

TYPED_TEST(ColumnSumTest, FinishesManySumsTogether) {
  using T = typename TestFixture::T;
  using Device = typename TestFixture::Device;
  const typename Testing<Device>::Instance test_device;
  const Device& device = test_device;
  std::vector<typename TestFixture::template Numbers<T>> x;
  std::vector<typename TestFixture::template Numbers<float>> y;
  for (int i = 0; i < 19; ++i) {
    x.emplace_back(Random<T>(5000 * (i + 1), i));
    y.emplace_back(Unwritten<float>(i + 1));
  }
  ColumnSums<Device> sums(device);
  for (int i = 0; i < 19; ++i) ColumnSum(device, x[i].data(), 5000, i + 1, y[i].data(), &sums);
  sums.Finish();
  for (int i = 0; i < 19; ++i) {
    EXPECT_TRUE(Identical(y[i].host(), this->Sum(x[i].host(), 5000, i + 1)));
  }
}

TYPED_TEST(ColumnSumTest, TakesNoColumns) { EXPECT_TRUE(this->Sum({}, 5, 0).empty()); }

TYPED_TEST(ColumnSumTest, DoesNotDependOnTheNumberOfThreads) {
  const auto x = Random<typename TestFixture::T>(1000 * 33, 3);
  EXPECT_TRUE(Identical(this->Sum(x, 1000, 33, 1), this->Sum(x, 1000, 33, 3)));
}

}  // namespace
}  // namespace tf_ls
