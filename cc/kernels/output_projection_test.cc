#include "cc/kernels/output_projection.h"

#include <algorithm>
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
class OutputProjectionTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  struct Problem {
    Problem(const std::vector<int32_t>& indices, int64_t positions, int64_t vocab,
            int64_t hidden = 7)
        : indices(indices),
          shape{static_cast<int64_t>(indices.size()), hidden, vocab, positions, nullptr},
          x(Random<T>(shape.rows * hidden, 1)),
          weights(Random<float>(vocab * hidden, 2)),
          bias(Random<float>(vocab, 3)),
          dlogits(Random<T>(positions * vocab, 4)) {}
    Problem(const Problem&) = delete;

    const std::vector<int32_t> indices;
    const OutputProjectionShape shape;
    const std::vector<T> x;
    const std::vector<float> weights;
    const std::vector<float> bias;
    std::vector<T> dlogits;
  };

  struct Result {
    std::vector<T> logits, dx;
    std::vector<float> dweights, dbias;
  };

  static Result Run(const Problem& p, bool bias = true, int threads = 2) {
    const typename Testing<Device>::Instance test_device(threads);
    const Device& device = test_device;
    const Numbers<int32_t> indices(p.indices);
    const Numbers<T> x(p.x), dlogits(p.dlogits);
    const Numbers<float> weights(p.weights), shift(p.bias);
    OutputProjectionShape shape = p.shape;
    shape.indices = indices.data();

    Numbers<T> logits(Unwritten<T>(p.dlogits.size())), dx(Unwritten<T>(p.x.size()));
    Numbers<float> dweights(Unwritten<float>(p.weights.size()));
    Numbers<float> dbias(Unwritten<float>(bias ? p.bias.size() : 0));
    OutputProjection(device, shape, x.data(), weights.data(), bias ? shift.data() : nullptr,
                     logits.data());
    OutputProjectionGradient(device, shape, x.data(), weights.data(), dlogits.data(), dx.data(),
                             dweights.data(), bias ? dbias.data() : nullptr);
    return {logits.host(), dx.host(), dweights.host(), dbias.host()};
  }

  static void Check(const Problem& p, bool bias = true) {
    SCOPED_TRACE(std::to_string(p.shape.rows) + " rows in " + std::to_string(p.shape.positions) +
                 " positions, vocabulary of " + std::to_string(p.shape.vocab_size));
    const int64_t hidden = p.shape.hidden_size;
    const int64_t vocab = p.shape.vocab_size;
    std::vector<double> logits(p.dlogits.size(), 0.0), dx(p.x.size(), 0.0);
    std::vector<double> dweights(p.weights.size(), 0.0), dbias(bias ? vocab : 0, 0.0);
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      if (p.indices[i] < 0) continue;
      for (int64_t j = 0; j < vocab; ++j) {
        const int64_t at = p.indices[i] * vocab + j;
        const double gradient = Value(p.dlogits[at]);
        if (bias) {
          logits[at] = p.bias[j];
          dbias[j] += gradient;
        }
        for (int64_t d = 0; d < hidden; ++d) {
          logits[at] += Value(p.x[i * hidden + d]) * p.weights[j * hidden + d];
          dx[i * hidden + d] += gradient * p.weights[j * hidden + d];
          dweights[j * hidden + d] += gradient * Value(p.x[i * hidden + d]);
        }
      }
    }
    const Result result = Run(p, bias);
    EXPECT_TRUE(Close(result.logits, logits, kProductTolerance<T>));
    EXPECT_TRUE(Close(result.dx, dx, kProductTolerance<T>));
    EXPECT_TRUE(Close(result.dweights, dweights));
    EXPECT_TRUE(Close(result.dbias, dbias));
  }

  // `rows` rows in an order that is not their own, with gaps, and some that belong nowhere.
  static std::vector<int32_t> Scattered(int64_t rows, int64_t positions) {
    std::vector<int32_t> indices;
    for (int64_t i = 0; i < rows; ++i) {
      indices.push_back(i % 5 == 4 ? -1 : static_cast<int32_t>(i * 7 % positions));
    }
    return indices;
  }
};

TYPED_TEST_SUITE(OutputProjectionTest, test::DeviceTypes);

TYPED_TEST(OutputProjectionTest, TakesAnyVocabulary) {
  for (const int64_t vocab : {1, 5, 255, 256, 257, 2048, 2049, 5000}) {
    TestFixture::Check({{3, 0, -1, 4, -1}, 6, vocab});
  }
}

TYPED_TEST(OutputProjectionTest, TakesAnyNumberOfRows) {
  for (const int64_t rows : {1, 63, 64, 65, 128, 255, 257, 300}) {
    TestFixture::Check({TestFixture::Scattered(rows, 401), 401, 40});
  }
}

TYPED_TEST(OutputProjectionTest, TakesAnyHiddenSize) {
  for (const int64_t hidden : {1, 3, 64, 100}) {
    TestFixture::Check({TestFixture::Scattered(70, 73), 73, 33, hidden});
  }
}

TYPED_TEST(OutputProjectionTest, NeedsNoBias) {
  TestFixture::Check({{3, 0, -1, 4, -1}, 6, 2100}, /*bias=*/false);
  TestFixture::Check({TestFixture::Scattered(70, 73), 73, 33}, /*bias=*/false);
}

TYPED_TEST(OutputProjectionTest, ZeroesPositionsThatNoRowBelongsTo) {
  const typename TestFixture::Problem problem({2, -1}, 4, 5);
  const auto logits = TestFixture::Run(problem).logits;
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(Value(logits[i]) == 0.0, i / 5 != 2) << i;
}

TYPED_TEST(OutputProjectionTest, GivesNoGradientToRowsThatBelongNowhere) {
  const typename TestFixture::Problem problem({2, -1}, 4, 5);
  using T = typename TestFixture::T;
  const auto dx = TestFixture::Run(problem).dx;
  EXPECT_TRUE(Identical(std::vector<T>(dx.begin() + 7, dx.end()), std::vector<T>(7)));
}

TYPED_TEST(OutputProjectionTest, LooksAtGradientsOfRowsOnly) {
  typename TestFixture::Problem problem({2, -1}, 4, 5);
  const auto expected = TestFixture::Run(problem);
  for (size_t i = 0; i < problem.dlogits.size(); ++i) {
    if (i / 5 != 2) problem.dlogits[i] = Unwritten<typename TestFixture::T>(1)[0];
  }
  const auto result = TestFixture::Run(problem);
  EXPECT_TRUE(Identical(result.dx, expected.dx));
  EXPECT_TRUE(Identical(result.dweights, expected.dweights));
  EXPECT_TRUE(Identical(result.dbias, expected.dbias));
}

TYPED_TEST(OutputProjectionTest, TakesNoRows) {
  TestFixture::Check({{}, 3, 5});
  TestFixture::Check({{-1, -1}, 3, 5});
  TestFixture::Check({{}, 0, 5});
}

TYPED_TEST(OutputProjectionTest, DoesNotDependOnTheNumberOfThreads) {
  const typename TestFixture::Problem problem(TestFixture::Scattered(300, 401), 401, 600);
  const auto one = TestFixture::Run(problem, true, 1);
  const auto three = TestFixture::Run(problem, true, 3);
  EXPECT_TRUE(Identical(one.logits, three.logits));
  EXPECT_TRUE(Identical(one.dx, three.dx));
  EXPECT_TRUE(Identical(one.dweights, three.dweights));
  EXPECT_TRUE(Identical(one.dbias, three.dbias));
}

}  // namespace
}  // namespace tf_ls
