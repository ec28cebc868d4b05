#include "cc/kernels/column_sum.h"

#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Identical;
using test::Random;
using test::TestCpu;
using test::Unwritten;
using test::Value;

template <typename T>
class ColumnSumTest : public ::testing::Test {};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(ColumnSumTest, Types);

TYPED_TEST(ColumnSumTest, AddsTheRows) {
  for (const int64_t rows : {0, 1, 2, 127, 128, 129, 400}) {
    for (const int64_t n : {1, 3, 16, 100}) {
      const auto x = Random<TypeParam>(rows * n, 1);
      std::vector<double> expected(n, 0.0);
      for (int64_t i = 0; i < rows * n; ++i) expected[i % n] += Value(x[i]);
      auto y = Unwritten<float>(n);
      ColumnSum(TestCpu(), x.data(), rows, n, y.data());
      EXPECT_TRUE(Close(y, expected, 1e-5)) << rows << " rows of " << n;
    }
  }
}

TYPED_TEST(ColumnSumTest, DoesNotDependOnTheNumberOfThreads) {
  const auto x = Random<TypeParam>(1000 * 33, 2);
  std::vector<float> one(33), three(33);
  ColumnSum(TestCpu(1), x.data(), 1000, 33, one.data());
  ColumnSum(TestCpu(3), x.data(), 1000, 33, three.data());
  EXPECT_TRUE(Identical(one, three));
}

}  // namespace
}  // namespace tf_ls
