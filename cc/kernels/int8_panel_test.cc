#include "cc/kernels/int8_panel.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Identical;
using test::Random;
using test::Unwritten;

constexpr int64_t kColumns = kInt8PanelColumns, kUnwritten = -123456789;

// A panel and rows for it.
struct Operands {
  // Numbers from a generator, or the extremes that make the largest sums.
  Operands(int64_t groups, bool extreme) : groups(groups), stride(groups * kInt8Group + 8) {
    std::mt19937 generator(groups);
    const auto draw = [&](int least, int most) {
      const auto random = static_cast<int>(generator() % (most - least + 1)) + least;
      return extreme ? (random > (least + most) / 2 ? most : least) : random;
    };
    for (int64_t i = 0; i < groups * kColumns * kInt8Group; ++i) {
      numbers.push_back(static_cast<int8_t>(draw(-128, 127)));
    }
    for (int64_t i = 0; i < kMostInt8PanelRows * stride; ++i) {
      x.push_back(static_cast<uint8_t>(draw(1, 255)));
    }
    if (extreme) {  // of which all products have one sign
      for (int64_t i = 0; i < stride; ++i) x[i] = 255;
      for (int64_t p = 0; p < groups; ++p) {
        for (int64_t i = 0; i < kInt8Group; ++i) {
          numbers[p * kColumns * kInt8Group + i] = -128;
          numbers[p * kColumns * kInt8Group + kInt8Group + i] = 127;
        }
      }
    }
    offsets.assign(kColumns, 0);
    for (int64_t p = 0; p < groups; ++p) {
      for (int64_t j = 0; j < kColumns * kInt8Group; ++j) {
        offsets[j / kInt8Group] += kInt8Offset * numbers[p * kColumns * kInt8Group + j];
      }
    }
  }

  Int8Panel panel() const { return {numbers.data(), offsets.data(), groups}; }

  std::vector<int64_t> Sums(int64_t rows) const {
    std::vector<int64_t> sums;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < kColumns; ++j) {
        int64_t sum = 0;
        for (int64_t p = 0; p < groups * kInt8Group; ++p) {
          const int64_t number =
              numbers[p / kInt8Group * kColumns * kInt8Group + j * kInt8Group + p % kInt8Group];
          sum += (x[i * stride + p] - kInt8Offset) * number;
        }
        sums.push_back(sum);
      }
    }
    return sums;
  }

  const int64_t groups, stride;
  std::vector<int8_t> numbers;
  std::vector<uint8_t> x;
  std::vector<int32_t> offsets;
};

class Int8PanelTest : public ::testing::TestWithParam<Int8Instructions> {
 protected:
  void CheckSums(bool look_ahead) {
    if (GetParam() > BestInt8Instructions()) GTEST_SKIP() << "this processor has not got them";
    for (const bool extreme : {false, true}) {
      for (const int64_t groups : {0, 1, 2, 3, 128, 4096}) {
        const Operands operands(groups, extreme);
        for (int64_t rows = 1; rows <= kMostInt8PanelRows; ++rows) {
          std::vector<int32_t> sums(rows * kColumns + 1, kUnwritten);
          Int8PanelProduct(operands.x.data(), operands.stride, rows, operands.panel(),
                           look_ahead ? operands.numbers.data() : nullptr, sums.data(), GetParam());
          EXPECT_EQ(sums.back(), kUnwritten);
          sums.pop_back();
          EXPECT_EQ(std::vector<int64_t>(sums.begin(), sums.end()), operands.Sums(rows))
              << groups << " groups, " << rows << " rows";
        }
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(WithAnyAvx2AndVnni, Int8PanelTest,
                         ::testing::Values(Int8Instructions::kAny, Int8Instructions::kAvx2,
                                           Int8Instructions::kAvx512Vnni));

TEST_P(Int8PanelTest, SumsExactly) { CheckSums(/*look_ahead=*/false); }

TEST_P(Int8PanelTest, SumsTheSameLookingAhead) { CheckSums(/*look_ahead=*/true); }

TEST(Int8SumsTest, AreScaled) {
  for (const int64_t columns : {1, 15, 16, 33, 64}) {
    for (const bool has_bias : {false, true}) {
      for (const bool accumulate : {false, true}) {
        constexpr int64_t kRows = 5, kStride = 70;
        std::vector<int32_t> sums;
        for (const float sum : Random<float>(kRows * kColumns, 1, 1e6)) {
          sums.push_back(static_cast<int32_t>(sum));
        }
        const auto row_scales = Random<float>(kRows, 2), column_scales = Random<float>(columns, 3);
        const auto bias = Random<float>(columns, 4, 1e5);
        const auto before = Random<float>(kRows * kStride, 5, 1e5);
        auto y = accumulate ? before : Unwritten<float>(kRows * kStride);
        const auto untouched = y;
        ScaleInt8Sums(sums.data(), kRows, columns, row_scales.data(), column_scales.data(),
                      has_bias ? bias.data() : nullptr, accumulate, kStride, y.data());
        std::vector<double> expected;
        std::vector<float> actual, rest, rest_before;
        for (int64_t i = 0; i < kRows; ++i) {
          for (int64_t j = 0; j < kStride; ++j) {
            const int64_t at = i * kStride + j;
            if (j >= columns) {
              rest.push_back(y[at]);
              rest_before.push_back(untouched[at]);
              continue;
            }
            actual.push_back(y[at]);
            expected.push_back(static_cast<double>(sums[i * kColumns + j]) * row_scales[i] *
                                   column_scales[j] +
                               (has_bias ? bias[j] : 0.0) + (accumulate ? before[at] : 0.0));
          }
        }
        EXPECT_TRUE(Close(actual, expected));
        EXPECT_TRUE(Identical(rest, rest_before)) << "behind the columns";
      }
    }
  }
}

}  // namespace
}  // namespace tf_ls
