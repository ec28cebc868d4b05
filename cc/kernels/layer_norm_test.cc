#include "cc/kernels/layer_norm.h"

#include <cmath>
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
using test::Convert;
using test::Identical;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

constexpr float kEpsilon = 1e-6f;

template <typename DeviceAndType>
class LayerNormTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  // Rows of n numbers with all that goes in, and what the formulas give in double precision.
  struct Problem {
    Problem(int64_t rows, int64_t n)
        : rows(rows),
          n(n),
          x(Random<T>(rows * n, 1, 2.0)),
          dy(Random<T>(rows * n, 2)),
          residual(Random<T>(rows * n, 3)),
          gamma(Random<float>(n, 4)),
          beta(Random<float>(n, 5)),
          mean(rows, 0.0),
          inverse_deviation(rows),
          y(rows * n),
          dx(rows * n),
          dgamma(n, 0.0),
          dbeta(n, 0.0) {
      for (int64_t i = 0; i < rows; ++i) Solve(i);
    }

    void Solve(int64_t i) {
      const auto in = [&](int64_t j) { return Value(x[i * n + j]); };
      const auto gradient = [&](int64_t j) { return Value(dy[i * n + j]); };
      double variance = 0.0;
      for (int64_t j = 0; j < n; ++j) mean[i] += in(j) / n;
      for (int64_t j = 0; j < n; ++j) variance += (in(j)-mean[i]) * (in(j)-mean[i]) / n;
      inverse_deviation[i] = 1.0 / std::sqrt(variance + kEpsilon);
      const auto normalized = [&](int64_t j) { return (in(j)-mean[i]) * inverse_deviation[i]; };
      double mean_gradient = 0.0;
      double mean_product = 0.0;
      for (int64_t j = 0; j < n; ++j) {
        mean_gradient += gradient(j) * gamma[j] / n;
        mean_product += gradient(j) * gamma[j] * normalized(j) / n;
        dgamma[j] += gradient(j) * normalized(j);
        dbeta[j] += gradient(j);
        y[i * n + j] = normalized(j) * gamma[j] + beta[j];
      }
      for (int64_t j = 0; j < n; ++j) {
        dx[i * n + j] = inverse_deviation[i] *
                        (gradient(j) * gamma[j] - mean_gradient - normalized(j) * mean_product);
      }
    }

    const int64_t rows, n;
    const std::vector<T> x, dy, residual;
    const std::vector<float> gamma, beta;
    std::vector<double> mean, inverse_deviation, y, dx, dgamma, dbeta;
  };

  // What the kernels give.
  struct Result {
    explicit Result(const Problem& problem, int threads = 2)
        : problem(problem),
          test_device(threads),
          device(test_device),
          x(problem.x),
          dy(problem.dy),
          residual(problem.residual),
          gamma(problem.gamma),
          beta(problem.beta),
          mean(Unwritten<float>(problem.rows)),
          inverse_deviation(Unwritten<float>(problem.rows)),
          y(Unwritten<T>(problem.rows * problem.n)),
          dx(y),
          dgamma(Unwritten<float>(problem.n)),
          dbeta(dgamma) {}

    Moments moments() { return {mean.data(), inverse_deviation.data()}; }

    void Forward(const T* in, T* out, float epsilon = kEpsilon) {
      LayerNorm(device, in, problem.rows, problem.n, gamma.data(), beta.data(), epsilon, out,
                moments());
    }
    void FromMoments(const T* in, T* out) {
      LayerNormFromMoments(device, in, problem.rows, problem.n, gamma.data(), beta.data(),
                           moments(), out);
    }
    void Backward(const T* gradient, const T* residual_gradient, T* out) {
      LayerNormGradient(device, gradient, x.data(), problem.rows, problem.n, gamma.data(),
                        moments(), residual_gradient, out, dgamma.data(), dbeta.data());
    }
    void Run() {
      Forward(x.data(), y.data());
      Backward(dy.data(), nullptr, dx.data());
    }

    const Problem& problem;
    const typename Testing<Device>::Instance test_device;
    const Device& device;
    const Numbers<T> x, dy, residual;
    const Numbers<float> gamma, beta;
    Numbers<float> mean, inverse_deviation;
    Numbers<T> y, dx;
    Numbers<float> dgamma, dbeta;
  };
};

TYPED_TEST_SUITE(LayerNormTest, test::DeviceTypes);

TYPED_TEST(LayerNormTest, AgreesWithTheFormulas) {
  for (const int64_t rows : {1, 2, 64, 65, 150}) {
    for (const int64_t n : {2, 3, 16, 17, 100, 300, 512, 1000, 1025, 2100, 5000}) {
      SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(n));
      const typename TestFixture::Problem problem(rows, n);
      typename TestFixture::Result result(problem);
      result.Run();
      const double tolerance = std::is_same<typename TestFixture::T, float>::value ? 1e-5 : 4e-3;
      // Means are near zero, and as exact as the sums: builds without vectors add one number after
      // the other, up to some hundred.
      const auto mean = result.mean.host();
      for (int64_t i = 0; i < rows; ++i) EXPECT_NEAR(mean[i], problem.mean[i], 5e-6);
      EXPECT_TRUE(Close(result.inverse_deviation.host(), problem.inverse_deviation, 1e-5));
      EXPECT_TRUE(Close(result.y.host(), problem.y, tolerance));
      EXPECT_TRUE(Close(result.dgamma.host(), problem.dgamma, 1e-5));
      EXPECT_TRUE(Close(result.dbeta.host(), problem.dbeta, 1e-5));
      if (n > 2) {  // the gradient of two numbers is next to nothing, the rest of large terms
        EXPECT_TRUE(Close(result.dx.host(), problem.dx, 2 * tolerance));
      }
    }
  }
}

TYPED_TEST(LayerNormTest, OfOneNumberIsBeta) {
  const typename TestFixture::Problem problem(5, 1);
  typename TestFixture::Result result(problem);
  result.Run();
  EXPECT_TRUE(Close(result.y.host(), std::vector<float>(5, problem.beta[0])));
  EXPECT_TRUE(Close(result.dx.host(), std::vector<float>(5, 0.0f), 1e-4));
}

TYPED_TEST(LayerNormTest, IsTheSameFromKnownMoments) {
  const typename TestFixture::Problem problem(70, 33);
  typename TestFixture::Result result(problem);
  result.Forward(result.x.data(), result.y.data());
  auto again = result.dx;
  result.FromMoments(result.x.data(), again.data());
  EXPECT_TRUE(Identical(again.host(), result.y.host()));
}

TYPED_TEST(LayerNormTest, WorksInPlace) {
  const typename TestFixture::Problem problem(70, 33);
  typename TestFixture::Result result(problem);
  result.Run();
  auto over_x = result.x;
  result.Forward(over_x.data(), over_x.data());
  EXPECT_TRUE(Identical(over_x.host(), result.y.host()));
  auto over_dy = result.dy;
  result.Backward(over_dy.data(), nullptr, over_dy.data());
  EXPECT_TRUE(Identical(over_dy.host(), result.dx.host()));
}

TYPED_TEST(LayerNormTest, GradientAddsThatOfTheResidual) {
  const typename TestFixture::Problem problem(70, 33);
  typename TestFixture::Result result(problem);
  result.Forward(result.x.data(), result.y.data());
  result.Backward(result.dy.data(), result.residual.data(), result.dx.data());
  auto expected = problem.dx;
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += Value(problem.residual[i]);
  EXPECT_TRUE(Close(result.dx.host(), expected));

  auto over_residual = result.residual;
  result.Backward(result.dy.data(), over_residual.data(), over_residual.data());
  EXPECT_TRUE(Identical(over_residual.host(), result.dx.host()));
  auto over_dy = result.dy;
  result.Backward(over_dy.data(), result.residual.data(), over_dy.data());
  EXPECT_TRUE(Identical(over_dy.host(), result.dx.host()));
}

TYPED_TEST(LayerNormTest, OfARowOfEqualNumbersIsBeta) {
  using T = typename TestFixture::T;
  for (const float epsilon : {1e-12f, 1e-5f}) {  // BERT's, GPT-2's
    for (const float number : {0.0f, 0.1f, -10.1f, 777.7f}) {
      for (const int64_t n : {20, 768, 1500}) {
        const typename TestFixture::Problem problem(1, n);
        typename TestFixture::Result result(problem);
        const auto row = Convert<T>(std::vector<float>(n, number));
        result.Forward(typename TestFixture::template Numbers<T>(row).data(), result.y.data(),
                       epsilon);
        EXPECT_TRUE(Identical(result.y.host(), Convert<T>(problem.beta))) << number;
        EXPECT_NEAR(result.inverse_deviation.host()[0] * std::sqrt(epsilon), 1.0, 1e-2);
      }
    }
  }
}

TYPED_TEST(LayerNormTest, TakesNoRows) {
  const typename TestFixture::Problem problem(0, 20);
  typename TestFixture::Result result(problem);
  result.Run();
  EXPECT_TRUE(Identical(result.dgamma.host(), std::vector<float>(20, 0.0f)));
  EXPECT_TRUE(Identical(result.dbeta.host(), std::vector<float>(20, 0.0f)));
}

TYPED_TEST(LayerNormTest, DoesNotDependOnTheNumberOfThreads) {
  const typename TestFixture::Problem problem(500, 33);
  typename TestFixture::Result one(problem, 1), three(problem, 3);
  one.Run();
  three.Run();
  EXPECT_TRUE(Identical(one.y.host(), three.y.host()));
  EXPECT_TRUE(Identical(one.dx.host(), three.dx.host()));
  EXPECT_TRUE(Identical(one.dgamma.host(), three.dgamma.host()));
  EXPECT_TRUE(Identical(one.dbeta.host(), three.dbeta.host()));
}

}  // namespace
}  // namespace tf_ls
