#include "cc/kernels/small_gemm.h"

#include <string>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Random;
using test::Unwritten;

// Runs one product on matrices with room beside every row, which has to stay as it is, and checks
// it.
void Check(int64_t m, int64_t n, int64_t k, bool a_transposed, bool accumulate) {
  SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(k) + " x " + std::to_string(n) +
               (a_transposed ? ", A transposed" : "") + (accumulate ? ", accumulate" : ""));
  const int64_t a_row_stride = a_transposed ? 1 : k + 3;
  const int64_t a_column_stride = a_transposed ? m + 2 : 1;
  const int64_t b_stride = n + 5;
  const int64_t c_stride = n + 7;
  const auto a = Random<float>(a_transposed ? k * a_column_stride : m * a_row_stride, 1);
  const auto b = Random<float>(k * b_stride, 2);
  auto c = Random<float>(m * c_stride, 3);
  std::vector<double> expected(c.begin(), c.end());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = accumulate ? c[i * c_stride + j] : 0.0;
      for (int64_t p = 0; p < k; ++p) {
        sum += double{a[i * a_row_stride + p * a_column_stride]} * b[p * b_stride + j];
      }
      expected[i * c_stride + j] = sum;
    }
  }
  if (!accumulate) {
    for (int64_t i = 0; i < m; ++i) {
      const auto row = Unwritten<float>(n);
      std::copy(row.begin(), row.end(), c.begin() + i * c_stride);
    }
  }
  SmallGemm(m, n, k, a.data(), a_row_stride, a_column_stride, b.data(), b_stride, c.data(),
            c_stride, accumulate);
  EXPECT_TRUE(Close(c, expected));
}

TEST(PadToLanesTest, RoundsUpToWholeVectors) {
  EXPECT_EQ(PadToLanes(0), 0);
  EXPECT_EQ(PadToLanes(1), 16);
  EXPECT_EQ(PadToLanes(16), 16);
  EXPECT_EQ(PadToLanes(17), 32);
}

TEST(SmallGemmTest, AgreesWithTheDefinition) {
  for (int64_t m = 1; m <= 13; ++m) {
    for (const int64_t n : {16, 32, 48}) {
      for (const int64_t k : {1, 2, 7, 64}) {
        for (const bool a_transposed : {false, true}) {
          for (const bool accumulate : {false, true}) Check(m, n, k, a_transposed, accumulate);
        }
      }
    }
  }
}

TEST(SmallGemmTest, OfNoProductsIsZero) { Check(4, 16, 0, false, false); }

TEST(SmallGemmTest, TakesEmptyMatrices) {
  Check(0, 16, 3, false, false);
  Check(3, 0, 3, false, false);
}

}  // namespace
}  // namespace tf_ls
