#include "cc/kernels/matmul.h"

#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
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

// Weights are rounded to T where the processor multiplies that.
template <typename T>
constexpr double kProductTolerance = std::is_same<T, float>::value     ? 2e-6
                                     : std::is_same<T, float16>::value ? 1e-3
                                                                       : 1e-2;

template <typename DeviceAndType>
class MatMulTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  static std::vector<T> Multiply(const std::vector<T>& x, int64_t rows, const std::vector<float>& w,
                                 int64_t inputs, int64_t outputs, bool transposed,
                                 const std::vector<float>* bias, bool accumulate,
                                 const std::vector<T>& before, int threads = 2) {
    const typename Testing<Device>::Instance device(threads);
    const Numbers<T> in(x);
    const Numbers<float> weight(w);
    const Numbers<float> shift(bias == nullptr ? std::vector<float>() : *bias);
    Numbers<T> y(before);
    MatMul(static_cast<const Device&>(device), in.data(), rows,
           Weight{weight.data(), inputs, outputs, transposed},
           bias == nullptr ? nullptr : shift.data(), accumulate, y.data());
    return y.host();
  }

  struct Options {
    bool transposed = false;
    bool bias = false;
    bool accumulate = false;
  };

  static void Check(int64_t rows, int64_t inputs, int64_t outputs, const Options& options) {
    SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(inputs) + " to " +
                 std::to_string(outputs) + (options.transposed ? ", transposed" : "") +
                 (options.bias ? ", bias" : "") + (options.accumulate ? ", accumulate" : ""));
    const auto x = Random<T>(rows * inputs, 1);
    const auto w = Random<float>(inputs * outputs, 2);
    const auto bias = Random<float>(outputs, 3);
    const auto before = Random<T>(rows * outputs, 4);
    std::vector<double> expected(rows * outputs);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < outputs; ++j) {
        double sum = options.bias ? bias[j] : 0.0;
        if (options.accumulate) sum += Value(before[i * outputs + j]);
        for (int64_t p = 0; p < inputs; ++p) {
          const float weight = options.transposed ? w[j * inputs + p] : w[p * outputs + j];
          sum += Value(x[i * inputs + p]) * weight;
        }
        expected[i * outputs + j] = sum;
      }
    }
    const auto y =
        Multiply(x, rows, w, inputs, outputs, options.transposed, options.bias ? &bias : nullptr,
                 options.accumulate, options.accumulate ? before : Unwritten<T>(rows * outputs));
    EXPECT_TRUE(Close(y, expected, kProductTolerance<T>));
  }

  static void CheckWeightGradient(int64_t rows, int64_t inputs, int64_t outputs) {
    SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(inputs) + " to " +
                 std::to_string(outputs));
    const auto x = Random<T>(rows * inputs, 5);
    const auto dy = Random<T>(rows * outputs, 6);
    const typename Testing<Device>::Instance device;
    const Numbers<T> in(x), gradient(dy);
    std::vector<double> expected(inputs * outputs, 0.0);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t p = 0; p < inputs; ++p) {
        for (int64_t j = 0; j < outputs; ++j) {
          expected[p * outputs + j] += Value(x[i * inputs + p]) * Value(dy[i * outputs + j]);
        }
      }
    }
    Numbers<float> dw(Unwritten<float>(inputs * outputs));
    MatMulWeightGradient(static_cast<const Device&>(device), in.data(), gradient.data(), rows,
                         inputs, outputs, dw.data());
    EXPECT_TRUE(Close(dw.host(), expected)) << "float32 sums of exact products, whatever T is";
  }
};

TYPED_TEST_SUITE(MatMulTest, test::DeviceTypes);

TEST(WeightTest, TransposesWithoutMoving) {
  const float data[6] = {};
  const Weight transposed = Weight{data, 2, 3}.Transposed();
  EXPECT_EQ(transposed.data, data);
  EXPECT_EQ(transposed.inputs, 3);
  EXPECT_EQ(transposed.outputs, 2);
  EXPECT_TRUE(transposed.transposed);
  EXPECT_FALSE(transposed.Transposed().transposed);
}

TYPED_TEST(MatMulTest, TakesAnyNumberOfRows) {
  for (const int64_t rows : {1, 2, 3, 17, 63, 64, 65, 100, 127, 128, 129, 200}) {
    for (const bool transposed : {false, true}) {
      TestFixture::Check(rows, 24, 40, {transposed});
      TestFixture::Check(rows, 24, 40, {transposed, /*bias=*/true});
    }
  }
}

TYPED_TEST(MatMulTest, TakesAnySizes) {
  for (const int64_t inputs : {1, 3, 17, 100, 257, 300}) {
    for (const int64_t outputs : {1, 3, 17, 100, 257, 300}) {
      for (const bool transposed : {false, true}) {
        TestFixture::Check(5, inputs, outputs, {transposed, /*bias=*/true});
        TestFixture::Check(70, inputs, outputs, {transposed, /*bias=*/true});
      }
    }
  }
}

TYPED_TEST(MatMulTest, Accumulates) {
  for (const int64_t rows : {1, 64, 70, 130}) {
    for (const bool transposed : {false, true}) {
      for (const bool bias : {false, true}) {
        TestFixture::Check(rows, 17, 300, {transposed, bias, /*accumulate=*/true});
      }
    }
  }
}

TYPED_TEST(MatMulTest, TakesNoRows) {
  TestFixture::Check(0, 3, 5, {});
  TestFixture::Check(0, 3, 5, {false, true, true});
}

TYPED_TEST(MatMulTest, DoesNotDependOnTheNumberOfThreads) {
  using T = typename TestFixture::T;
  const auto w = Random<float>(33 * 600, 7);
  for (const int64_t rows : {30, 200}) {
    const auto x = Random<T>(rows * 33, 8);
    const auto with_threads = [&](int threads) {
      return TestFixture::Multiply(x, rows, w, 33, 600, false, nullptr, false,
                                   Unwritten<T>(rows * 600), threads);
    };
    EXPECT_TRUE(Identical(with_threads(1), with_threads(3)));
  }
}

TYPED_TEST(MatMulTest, PropagatesNaN) {
  using T = typename TestFixture::T;
  auto x = Random<T>(70 * 5, 9);
  test::Assign(std::numeric_limits<double>::quiet_NaN(), &x[66 * 5 + 1]);
  const auto w = Random<float>(5 * 7, 10);
  const auto y = TestFixture::Multiply(x, 70, w, 5, 7, false, nullptr, false, Unwritten<T>(70 * 7));
  for (int64_t i = 0; i < 70 * 7; ++i) EXPECT_EQ(std::isnan(Value(y[i])), i / 7 == 66) << i;
}

TYPED_TEST(MatMulTest, WeightGradientTakesAnyNumberOfRows) {
  for (const int64_t rows : {1, 64, 255, 256, 257, 600}) {
    TestFixture::CheckWeightGradient(rows, 20, 30);
  }
}

TYPED_TEST(MatMulTest, WeightGradientOfNoRowsIsZero) {
  TestFixture::CheckWeightGradient(0, 20, 30);
}

TYPED_TEST(MatMulTest, WeightGradientTakesAnySizes) {
  for (const int64_t inputs : {1, 3, 17, 129, 257}) {
    for (const int64_t outputs : {1, 3, 17, 129, 257}) {
      TestFixture::CheckWeightGradient(19, inputs, outputs);
    }
  }
  TestFixture::CheckWeightGradient(300, 130, 131);
}

}  // namespace
}  // namespace tf_ls
