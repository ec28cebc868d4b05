#include "cc/kernels/append_rows.h"

#include <algorithm>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Assign;
using test::Identical;
using test::Random;
using test::TestCpu;
using test::Unwritten;
using test::Value;

template <typename T>
class AppendRowsTest : public ::testing::Test {};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(AppendRowsTest, Types);

TYPED_TEST(AppendRowsTest, PutsNewRowsBehindThoseOfEachSentence) {
  constexpr int64_t n = 6;
  constexpr int64_t kStride = 20;  // the rows lie inside wider ones
  for (const int64_t batch : {0, 1, 5}) {
    for (const int64_t before : {0, 1, 4}) {
      for (const int64_t added : {0, 1, 3}) {
        const auto x = Random<TypeParam>(batch * before * n, 1);
        const auto rows = Random<TypeParam>(batch * added * kStride, 2);
        std::vector<TypeParam> expected;
        const auto append = [&](const std::vector<TypeParam>& from, int64_t start) {
          expected.insert(expected.end(), from.begin() + start, from.begin() + start + n);
        };
        for (int64_t i = 0; i < batch; ++i) {
          for (int64_t j = 0; j < before; ++j) append(x, (i * before + j) * n);
          for (int64_t j = 0; j < added; ++j) append(rows, (i * added + j) * kStride);
        }
        auto y = Unwritten<TypeParam>(batch * (before + added) * n);
        AppendRows<TypeParam>(TestCpu(), x.data(), batch, before, {rows.data(), kStride}, added, n,
                              y.data());
        EXPECT_TRUE(Identical(y, expected)) << batch << " * (" << before << " + " << added << ")";
      }
    }
  }
}

TYPED_TEST(AppendRowsTest, GradientGoesBackToWhereRowsCameFrom) {
  constexpr int64_t n = 6;
  constexpr int64_t kStride = 20;
  for (const int64_t batch : {0, 1, 5}) {
    for (const int64_t before : {0, 1, 4}) {
      for (const int64_t added : {0, 1, 3}) {
        const int64_t size = batch * (before + added) * n;
        const auto dy1 = Random<TypeParam>(size, 1);
        const auto dy2 = Random<TypeParam>(size, 2);
        std::vector<TypeParam> expected_dx;
        auto expected_drows = Random<TypeParam>(batch * added * kStride, 3);
        auto drows = expected_drows;  // what lies between the rows is not to be touched
        for (int64_t i = 0; i < size; ++i) {
          TypeParam sum;
          Assign(Value(dy1[i]) + Value(dy2[i]), &sum);
          const int64_t sentence = i / ((before + added) * n);
          const int64_t row = i / n % (before + added);
          if (row < before) {
            expected_dx.push_back(sum);
          } else {
            expected_drows[(sentence * added + row - before) * kStride + i % n] = sum;
          }
        }
        auto dx = Unwritten<TypeParam>(batch * before * n);
        AppendRowsGradient<TypeParam>(TestCpu(), dy1.data(), dy2.data(), batch, before, added, n,
                                      dx.data(), {drows.data(), kStride});
        EXPECT_TRUE(Identical(dx, expected_dx)) << batch << " * (" << before << " + " << added;
        EXPECT_TRUE(Identical(drows, expected_drows)) << batch << " * " << before << " + " << added;
      }
    }
  }
}

}  // namespace
}  // namespace tf_ls
