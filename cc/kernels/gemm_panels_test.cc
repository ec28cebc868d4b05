#include "cc/kernels/gemm_panels.h"

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

struct Options {
  bool a_transposed = false;
  bool b_transposed = false;
  bool bias = false;
  bool accumulate = false;
};

// Runs one product, C with room beside every row, which has to stay as it is, and checks it.
void Check(int64_t m, int64_t n, int64_t k, const Options& options) {
  SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(k) + " x " + std::to_string(n) +
               (options.a_transposed ? ", A transposed" : "") +
               (options.b_transposed ? ", B transposed" : "") + (options.bias ? ", bias" : "") +
               (options.accumulate ? ", accumulate" : ""));
  const int64_t a_row_stride = options.a_transposed ? 1 : k;
  const int64_t a_column_stride = options.a_transposed ? m : 1;
  const int64_t b_row_stride = options.b_transposed ? 1 : n;
  const int64_t b_column_stride = options.b_transposed ? k : 1;
  const int64_t c_stride = n + 7;
  const auto a = Random<float>(m * k, 1);
  const auto b = Random<float>(k * n, 2);
  const auto bias = Random<float>(n, 3);
  auto c = Random<float>(m * c_stride, 4);
  std::vector<double> expected(c.begin(), c.end());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = options.bias ? bias[j] : 0.0;
      if (options.accumulate) sum += c[i * c_stride + j];
      for (int64_t p = 0; p < k; ++p) {
        sum += double{a[i * a_row_stride + p * a_column_stride]} *
               b[p * b_row_stride + j * b_column_stride];
      }
      expected[i * c_stride + j] = sum;
    }
  }
  if (!options.accumulate) {
    const auto row = Unwritten<float>(n);
    for (int64_t i = 0; i < m; ++i) std::copy(row.begin(), row.end(), c.begin() + i * c_stride);
  }
  auto panels = Unwritten<float>(PanelNumbers(k, n));
  PackPanels(b.data(), k, n, b_row_stride, b_column_stride, panels.data());
  MultiplyPanels(m, n, k, a.data(), a_row_stride, a_column_stride, panels.data(),
                 options.bias ? bias.data() : nullptr, c.data(), c_stride, options.accumulate);
  EXPECT_TRUE(Close(c, expected, 2e-6));
}

TEST(PackPanelsTest, PutsZerosBehindTheLastColumn) {
  const std::vector<float> b = {1, 2, 3, 4, 5, 6};  // [3, 2]
  std::vector<float> expected(3 * kGemmLanes, 0.0f);
  for (int i = 0; i < 3; ++i) {
    expected[i * kGemmLanes] = b[2 * i];
    expected[i * kGemmLanes + 1] = b[2 * i + 1];
  }
  auto panels = Unwritten<float>(PanelNumbers(3, 2));
  PackPanels(b.data(), 3, 2, 2, 1, panels.data());
  EXPECT_EQ(panels, expected);
}

TEST(MultiplyPanelsTest, AgreesWithTheDefinition) {
  for (const int64_t m : {1, 2, 5, 6, 7, 13}) {
    for (const int64_t n : {1, 15, 16, 17, 48}) {
      for (const int64_t k : {1, 15, 16, 33}) {
        for (const bool transposed : {false, true}) Check(m, n, k, {false, transposed});
      }
    }
  }
}

TEST(MultiplyPanelsTest, AddsBiasAndWhatIsThere) {
  for (const int64_t n : {16, 21}) {
    for (const bool accumulate : {false, true}) Check(7, n, 9, {false, false, true, accumulate});
    Check(7, n, 9, {false, false, false, /*accumulate=*/true});
  }
}

TEST(MultiplyPanelsTest, SumsDeepProducts) { Check(7, 20, 1600, {false, true, true, true}); }

TEST(MultiplyPanelsTest, TakesTransposedRows) { Check(13, 20, 33, {/*a_transposed=*/true}); }

TEST(MultiplyPanelsTest, OfNoProductsIsTheBias) { Check(4, 20, 0, {false, false, /*bias=*/true}); }

TEST(MultiplyPanelsTest, TakesEmptyMatrices) {
  Check(0, 16, 3, {});
  Check(3, 0, 3, {});
}

}  // namespace
}  // namespace tf_ls
