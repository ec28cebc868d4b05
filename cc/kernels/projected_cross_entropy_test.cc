#include "cc/kernels/projected_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/reference_cross_entropy.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Identical;
using test::Random;
using test::ReferenceCrossEntropy;
using test::Testing;
using test::Unwritten;
using test::Value;

// Weights, and the gradient of the logits, are rounded to T where the processor multiplies that.
template <typename T>
constexpr double kProductTolerance = std::is_same<T, float>::value     ? 5e-6
                                     : std::is_same<T, float16>::value ? 2e-3
                                                                       : 1e-2;

template <typename DeviceAndType>
class ProjectedCrossEntropyTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  struct Problem {
    Problem(const std::vector<int32_t>& indices, int64_t positions, int64_t vocab,
            int64_t hidden = 7, float smoothing = 0.1f)
        : indices(indices),
          x(Random<T>(indices.size() * hidden, 1)),
          weights(Random<float>(vocab * hidden, 2)),
          bias(Random<float>(vocab, 3)),
          labels(positions),
          label_weights(Random<float>(positions, 4, 2.0)),
          dlosses(Random<float>(positions, 5)),
          dnlls(Random<float>(positions, 6)),
          shape{static_cast<int64_t>(indices.size()), hidden, vocab, positions,
                this->indices.data()},
          targets{positions, vocab, labels.data(), label_weights.data(),
                  vocab > 1 ? smoothing : 0.0f} {
      for (int64_t i = 0; i < positions; ++i) labels[i] = (i * 7919 + vocab - 1) % vocab;
      for (int64_t i = 4; i < positions; i += 5) Ignore(i);
    }
    Problem(const Problem&) = delete;

    void Ignore(int64_t position) {
      label_weights[position] = 0.0f;
      labels[position] = -1;
    }

    std::vector<int32_t> indices;
    std::vector<T> x;
    std::vector<float> weights, bias;
    std::vector<int32_t> labels;
    std::vector<float> label_weights, dlosses, dnlls;
    const OutputProjectionShape shape;
    const CrossEntropyTargets targets;
  };

  struct Result {
    std::vector<float> losses, nlls, dx, dweights, dbias;
  };

  struct Options {
    bool gradient = true;
    bool bias = true;
    int threads = 2;
    bool sum_of_losses = false;  // whose gradient is asked for by null
  };

  static Result Run(const Problem& p, const Options& options = {}) {
    const typename Testing<Device>::Instance test_device(options.threads);
    const Device& device = test_device;
    const Numbers<int32_t> indices(p.indices), labels(p.labels);
    const Numbers<T> x(p.x);
    const Numbers<float> weights(p.weights), bias(p.bias), label_weights(p.label_weights);
    const Numbers<float> dlosses(p.dlosses), dnlls(p.dnlls);
    OutputProjectionShape shape = p.shape;
    shape.indices = indices.data();
    CrossEntropyTargets targets = p.targets;
    targets.labels = labels.data();
    targets.weights = label_weights.data();
    Numbers<float> losses(Unwritten<float>(shape.positions)), nlls(losses);
    Numbers<float> dx(Unwritten<float>(options.gradient ? p.x.size() : 0));
    Numbers<float> dweights(Unwritten<float>(options.gradient ? p.weights.size() : 0));
    Numbers<float> dbias(Unwritten<float>(options.gradient && options.bias ? p.bias.size() : 0));
    const ProjectionGradient wanted = {options.sum_of_losses ? nullptr : dlosses.data(),
                                       options.sum_of_losses ? nullptr : dnlls.data(), dx.data(),
                                       dweights.data(), options.bias ? dbias.data() : nullptr};
    ProjectedCrossEntropy<T>(device, shape, targets, x.data(), weights.data(),
                             options.bias ? bias.data() : nullptr, losses.data(), nlls.data(),
                             options.gradient ? &wanted : nullptr);
    return {losses.host(), nlls.host(), dx.host(), dweights.host(), dbias.host()};
  }

  static void Check(const Problem& p, bool bias = true) {
    SCOPED_TRACE(std::to_string(p.shape.rows) + " rows in " + std::to_string(p.shape.positions) +
                 " positions, vocabulary of " + std::to_string(p.shape.vocab_size));
    const int64_t hidden = p.shape.hidden_size;
    const int64_t vocab = p.shape.vocab_size;
    std::vector<double> logits(p.shape.positions * vocab, 0.0);
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      if (p.indices[i] < 0) continue;
      for (int64_t v = 0; v < vocab; ++v) {
        double logit = bias ? p.bias[v] : 0.0;
        for (int64_t h = 0; h < hidden; ++h) {
          logit += Value(p.x[i * hidden + h]) * p.weights[v * hidden + h];
        }
        logits[p.indices[i] * vocab + v] = logit;
      }
    }
    const ReferenceCrossEntropy expected(p.targets, logits, p.dlosses, p.dnlls);
    std::vector<double> dx(p.x.size(), 0.0), dweights(p.weights.size(), 0.0), dbias(vocab, 0.0);
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      if (p.indices[i] < 0) continue;
      for (int64_t v = 0; v < vocab; ++v) {
        const double dlogit = expected.dlogits[p.indices[i] * vocab + v];
        dbias[v] += dlogit;
        for (int64_t h = 0; h < hidden; ++h) {
          dx[i * hidden + h] += dlogit * p.weights[v * hidden + h];
          dweights[v * hidden + h] += dlogit * Value(p.x[i * hidden + h]);
        }
      }
    }
    const double tolerance = kProductTolerance<T>;
    Options options;
    options.bias = bias;
    const Result result = Run(p, options);
    EXPECT_TRUE(Close(result.losses, expected.losses, tolerance));
    EXPECT_TRUE(Close(result.nlls, expected.nlls, tolerance));
    EXPECT_TRUE(Close(result.dx, dx, tolerance));
    EXPECT_TRUE(Close(result.dweights, dweights, tolerance));
    if (bias) {
      EXPECT_TRUE(Close(result.dbias, dbias, tolerance));
    }
    options.gradient = false;
    const Result loss_alone = Run(p, options);
    EXPECT_TRUE(Identical(loss_alone.losses, result.losses));
    EXPECT_TRUE(Identical(loss_alone.nlls, result.nlls));
  }

  // Rows in any order, some of which belong nowhere. `positions` is a prime.
  static std::vector<int32_t> Scattered(int64_t rows, int64_t positions) {
    std::vector<int32_t> indices;
    for (int64_t i = 0; i < rows; ++i) {
      indices.push_back(i % 6 == 5 ? -1 : static_cast<int32_t>(i * 7 % positions));
    }
    return indices;
  }
};

TYPED_TEST_SUITE(ProjectedCrossEntropyTest, test::DeviceTypes);

TYPED_TEST(ProjectedCrossEntropyTest, TakesAnyVocabulary) {
  for (const int64_t vocab : {2, 5, 255, 256, 257, 2048, 2049, 5000}) {
    TestFixture::Check({{3, 0, -1, 5, -1}, 7, vocab});
  }
}

TYPED_TEST(ProjectedCrossEntropyTest, TakesAnyNumberOfRows) {
  for (const int64_t rows : {1, 63, 64, 65, 128, 255, 257, 300}) {
    TestFixture::Check({TestFixture::Scattered(rows, 401), 401, 40});
  }
}

TYPED_TEST(ProjectedCrossEntropyTest, TakesAnyHiddenSize) {
  for (const int64_t hidden : {1, 3, 64, 100}) {
    TestFixture::Check({TestFixture::Scattered(70, 73), 73, 33, hidden});
  }
}

// More rows than there are logits for at once: on the CPU three times as many and a rest, on the
// GPU twice as many and a rest.
TYPED_TEST(ProjectedCrossEntropyTest, GoesThroughLogitsInParts) {
  TestFixture::Check({TestFixture::Scattered(800, 809), 809, 16000, 3});
  TestFixture::Check({TestFixture::Scattered(4500, 4507), 4507, 41});
}

TYPED_TEST(ProjectedCrossEntropyTest, SmoothsOrNot) {
  for (const float smoothing : {0.0f, 0.9f}) {
    TestFixture::Check({TestFixture::Scattered(70, 73), 73, 33, 7, smoothing});
  }
}

TYPED_TEST(ProjectedCrossEntropyTest, NeedsNoBias) {
  TestFixture::Check({{3, 0, -1, 5, -1}, 7, 2100}, /*bias=*/false);
  TestFixture::Check({TestFixture::Scattered(70, 73), 73, 33}, /*bias=*/false);
}

TYPED_TEST(ProjectedCrossEntropyTest, OfOneWordIsZero) {
  const auto result = TestFixture::Run({{0, 1, 2}, 3, 1});
  for (const float x : result.losses) EXPECT_EQ(x, 0.0f);
  for (const float x : result.dweights) EXPECT_NEAR(x, 0.0f, 1e-6f);
}

TYPED_TEST(ProjectedCrossEntropyTest, TakesNoRows) {
  TestFixture::Check({{}, 3, 5});
  TestFixture::Check({{-1, -1}, 3, 5});
  TestFixture::Check({{}, 0, 5});
}

TYPED_TEST(ProjectedCrossEntropyTest, GivesNothingToWhatDoesNotCount) {
  typename TestFixture::Problem problem({2, -1, 0}, 4, 5);
  problem.Ignore(0);
  problem.Ignore(3);  // has no row
  const auto result = TestFixture::Run(problem);
  const auto& dx = result.dx;
  EXPECT_TRUE(Identical(std::vector<float>(dx.begin() + 7, dx.end()), std::vector<float>(14)));
  for (const int64_t position : {0, 3}) {
    EXPECT_EQ(result.losses[position], 0.0f);
    EXPECT_EQ(result.nlls[position], 0.0f);
  }
}

TYPED_TEST(ProjectedCrossEntropyTest, OfANaNIsNaNWhereItIs) {
  typename TestFixture::Problem problem({0, 1, 2}, 3, 5);
  test::Assign(std::nan(""), &problem.x[7]);
  const auto result = TestFixture::Run(problem);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(std::isnan(result.losses[i]), i == 1);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(std::isnan(result.dx[7 * i]), i == 1);
}

// Without dlosses and dnlls the gradient is that of the sum of the losses.
TYPED_TEST(ProjectedCrossEntropyTest, SumsLossesUnlessToldOtherwise) {
  typename TestFixture::Problem problem(TestFixture::Scattered(70, 73), 73, 33);
  typename TestFixture::Options options;
  options.sum_of_losses = true;
  const auto result = TestFixture::Run(problem, options);
  std::fill(problem.dlosses.begin(), problem.dlosses.end(), 1.0f);
  std::fill(problem.dnlls.begin(), problem.dnlls.end(), 0.0f);
  const auto expected = TestFixture::Run(problem);
  EXPECT_TRUE(Identical(result.dx, expected.dx));
  EXPECT_TRUE(Identical(result.dweights, expected.dweights));
  EXPECT_TRUE(Identical(result.dbias, expected.dbias));
}

// Neither lost nor infinite on the way, where the type of the products has a small range.
TYPED_TEST(ProjectedCrossEntropyTest, TakesSmallAndLargeGradients) {
  for (const float factor : {0.0f, 1e-20f, 1e-7f, 3e4f, 1e8f}) {
    typename TestFixture::Problem problem(TestFixture::Scattered(70, 73), 73, 5000);
    for (float& dloss : problem.dlosses) dloss *= factor;
    for (float& dnll : problem.dnlls) dnll *= factor;
    SCOPED_TRACE(factor);
    TestFixture::Check(problem);
  }
}

TYPED_TEST(ProjectedCrossEntropyTest, DoesNotDependOnTheNumberOfThreads) {
  const typename TestFixture::Problem problem(TestFixture::Scattered(800, 809), 809, 9000);
  typename TestFixture::Options options;
  options.threads = 1;
  const auto one = TestFixture::Run(problem, options);
  options.threads = 3;
  const auto three = TestFixture::Run(problem, options);
  EXPECT_TRUE(Identical(one.losses, three.losses));
  EXPECT_TRUE(Identical(one.nlls, three.nlls));
  EXPECT_TRUE(Identical(one.dx, three.dx));
  EXPECT_TRUE(Identical(one.dweights, three.dweights));
  EXPECT_TRUE(Identical(one.dbias, three.dbias));
}

}  // namespace
}  // namespace tf_ls
