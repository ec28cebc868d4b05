#include "cc/kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>
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

using test::Assign;
using test::Close;
using test::Identical;
using test::Random;
using test::ReferenceCrossEntropy;
using test::Testing;
using test::Unwritten;
using test::Value;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// As large as numbers get, roughly.
template <typename T>
constexpr double kLarge = std::is_same<T, float16>::value ? 6e4 : 3e38;

template <typename DeviceAndType>
class CrossEntropyTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  struct Problem {
    Problem(int64_t rows, int64_t vocab, float smoothing)
        : logits(Random<T>(rows * vocab, 1, 5.0)),
          labels(rows),
          weights(Random<float>(rows, 2, 2.0)),
          dlosses(Random<float>(rows, 3)),
          dnlls(Random<float>(rows, 4)),
          targets{rows, vocab, labels.data(), weights.data(), vocab > 1 ? smoothing : 0.0f} {
      for (int64_t i = 0; i < rows; ++i) labels[i] = (i * 7919 + vocab - 1) % vocab;
    }
    Problem(const Problem&) = delete;

    // Takes rows out of the count: neither logits nor labels of theirs may be looked at.
    void Ignore(int64_t row) {
      weights[row] = 0.0f;
      labels[row] = -1;
      for (int64_t j = 0; j < targets.vocab_size; ++j) {
        Assign(std::nan(""), &logits[row * targets.vocab_size + j]);
      }
    }

    std::vector<T> logits;
    std::vector<int32_t> labels;
    std::vector<float> weights, dlosses, dnlls;
    const CrossEntropyTargets targets;
  };

  struct Result {
    std::vector<float> losses, nlls, statistics;
    std::vector<T> dlogits;
  };

  struct Options {
    int threads = 2;
    bool in_place = false;
    int64_t shift = 0;  // how many numbers the logits begin behind the start of their memory
  };

  static Result Run(const Problem& p, const Options& options = {}) {
    const typename Testing<Device>::Instance test_device(options.threads);
    const Device& device = test_device;
    const Numbers<int32_t> labels(p.labels);
    const Numbers<float> weights(p.weights), dlosses(p.dlosses), dnlls(p.dnlls);
    std::vector<T> shifted = Unwritten<T>(options.shift);
    shifted.insert(shifted.end(), p.logits.begin(), p.logits.end());
    Numbers<T> logits(shifted), dlogits(Unwritten<T>(p.logits.size()));
    const CrossEntropyTargets targets{p.targets.rows, p.targets.vocab_size, labels.data(),
                                      weights.data(), p.targets.smoothing};
    Numbers<float> losses(Unwritten<float>(targets.rows)), nlls(Unwritten<float>(targets.rows));
    Numbers<float> statistics(Unwritten<float>(2 * targets.rows));
    T* const x = logits.data() + options.shift;
    CrossEntropy<T>(device, targets, x, losses.data(), nlls.data(), statistics.data());
    CrossEntropyGradient<T>(device, targets, x, statistics.data(), dlosses.data(), dnlls.data(),
                            options.in_place ? x : dlogits.data());
    Result result{losses.host(), nlls.host(), statistics.host(), dlogits.host()};
    if (options.in_place) {
      const std::vector<T> all = logits.host();
      result.dlogits.assign(all.begin() + options.shift, all.end());
    }
    return result;
  }

  static void Check(const Problem& p) {
    SCOPED_TRACE(std::to_string(p.targets.rows) + " rows, vocabulary of " +
                 std::to_string(p.targets.vocab_size) + ", smoothing of " +
                 std::to_string(p.targets.smoothing));
    const Result result = Run(p);
    const ReferenceCrossEntropy expected(p.targets, p.logits, p.dlosses, p.dnlls);
    ExpectNear(result.losses, expected.losses);
    ExpectNear(result.nlls, expected.nlls);
    EXPECT_TRUE(Close(result.dlogits, expected.dlogits));
  }

  // The sum of exponentials is a float32 of at least 1: a loss near 0 is as exact as one of 1.
  // (Without vector units a piece of a row is one long float32 sum.)
  static void ExpectNear(const std::vector<float>& actual, const std::vector<double>& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(actual[i], expected[i], 3e-6 * std::max(1.0, std::fabs(expected[i]))) << i;
    }
  }
};

TYPED_TEST_SUITE(CrossEntropyTest, test::DeviceTypes);

TYPED_TEST(CrossEntropyTest, AgreesWithTheFormulas) {
  for (const int64_t rows : {1, 3, 65}) {
    for (const int64_t vocab : {2, 7, 16, 100, 1023, 1024, 1025, 5000}) {
      for (const float smoothing : {0.0f, 0.1f, 0.9f}) {
        TestFixture::Check({rows, vocab, smoothing});
      }
    }
  }
}

TYPED_TEST(CrossEntropyTest, TakesAQuarterOfAMillionWords) {
  TestFixture::Check({2, 250000, 0.1f});
}

TYPED_TEST(CrossEntropyTest, OfOneWordIsZero) {
  const auto result = TestFixture::Run({3, 1, 0.0f});
  for (const float x : result.losses) EXPECT_EQ(x, 0.0f);
  for (const auto x : result.dlogits) EXPECT_EQ(Value(x), 0.0);
}

TYPED_TEST(CrossEntropyTest, DoesNotReadRowsThatDoNotCount) {
  typename TestFixture::Problem problem(6, 33, 0.1f);
  for (const int64_t row : {0, 3, 5}) problem.Ignore(row);
  TestFixture::Check(problem);
}

TYPED_TEST(CrossEntropyTest, CountsNothing) {
  typename TestFixture::Problem problem(2, 33, 0.1f);
  for (const int64_t row : {0, 1}) problem.Ignore(row);
  TestFixture::Check(problem);
}

TYPED_TEST(CrossEntropyTest, TakesNoRows) { TestFixture::Check({0, 33, 0.1f}); }

TYPED_TEST(CrossEntropyTest, WritesTheGradientOverTheLogits) {
  for (const int64_t vocab : {1, 33, 5000}) {
    typename TestFixture::Problem problem(6, vocab, 0.1f);
    problem.Ignore(4);
    typename TestFixture::Options in_place;
    in_place.in_place = true;
    EXPECT_TRUE(
        Identical(TestFixture::Run(problem, in_place).dlogits, TestFixture::Run(problem).dlogits));
  }
}

TYPED_TEST(CrossEntropyTest, TakesLogitsFromAnywhereInMemory) {
  for (const int64_t vocab : {2, 64, 2000}) {
    typename TestFixture::Problem problem(3, vocab, 0.1f);
    problem.Ignore(1);
    const auto expected = TestFixture::Run(problem);
    for (const int64_t shift : {1, 3}) {
      typename TestFixture::Options options;
      options.shift = shift;
      for (const bool in_place : {false, true}) {
        options.in_place = in_place;
        const auto result = TestFixture::Run(problem, options);
        EXPECT_TRUE(Close(result.losses, expected.losses));
        EXPECT_TRUE(Close(result.dlogits, expected.dlogits));
      }
    }
  }
}

// What is common to all logits does not change the loss, as long as it can be represented.
TYPED_TEST(CrossEntropyTest, TakesLogitsFarFromZero) {
  typename TestFixture::Problem near(3, 4100, 0.1f), far(3, 4100, 0.1f);
  for (int64_t i = 0; i < 3 * 4100; ++i) {
    Assign(512.0 * (i % 7), &near.logits[i]);
    Assign(512.0 * (i % 7) - 57344.0, &far.logits[i]);  // exact in all types
  }
  const auto expected = TestFixture::Run(near);
  const auto result = TestFixture::Run(far);
  EXPECT_TRUE(Close(result.losses, expected.losses, 1e-6));
  EXPECT_TRUE(Close(result.dlogits, expected.dlogits));
}

TYPED_TEST(CrossEntropyTest, OfEqualLogitsIsThatOfChance) {
  constexpr double kMost = kLarge<typename TestFixture::T>;
  for (const double value : {-kMost, -1.0, 0.0, kMost}) {
    typename TestFixture::Problem problem(2, 4100, 0.0f);
    for (auto& x : problem.logits) Assign(value, &x);
    problem.weights = {1.0f, 2.0f};
    const auto result = TestFixture::Run(problem);
    EXPECT_NEAR(result.losses[0], std::log(4100.0), 1e-5);
    EXPECT_NEAR(result.losses[1], 2 * std::log(4100.0), 2e-5);
  }
}

TYPED_TEST(CrossEntropyTest, OfNaNOrInfinityIsNaN) {
  for (const double value : {std::nan(""), kInfinity}) {
    for (const int64_t position : {0, 100, 2500}) {
      typename TestFixture::Problem problem(3, 2600, 0.1f);
      Assign(value, &problem.logits[2600 + position]);
      const auto result = TestFixture::Run(problem);
      for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(std::isnan(result.losses[i]), i == 1);
      for (int64_t i = 0; i < 3; ++i)
        EXPECT_EQ(std::isnan(Value(result.dlogits[2600 * i])), i == 1);
    }
  }
}

// A word that cannot be: infinitely wrong if the target wants it, else as if it were not there.
TYPED_TEST(CrossEntropyTest, TakesLogitsOfMinusInfinity) {
  for (const float smoothing : {0.0f, 0.1f}) {
    typename TestFixture::Problem problem(2, 5000, smoothing);
    problem.labels = {1, 4999};
    problem.weights = {1.0f, 1.0f};
    for (int64_t j = 1024; j < 5000; ++j) {  // a whole piece of the row, and more
      Assign(-kInfinity, &problem.logits[j]);
      Assign(-kInfinity, &problem.logits[5000 + j]);
    }
    const auto result = TestFixture::Run(problem);
    double sum = 0.0;
    for (int64_t j = 0; j < 1024; ++j) sum += std::exp(Value(problem.logits[j]));
    const double nll = std::log(sum) - Value(problem.logits[1]);
    EXPECT_NEAR(result.nlls[0], nll, 1e-5);
    EXPECT_EQ(result.nlls[1], kInfinity);
    if (smoothing == 0.0f) {
      EXPECT_NEAR(result.losses[0], nll, 1e-5);
      EXPECT_EQ(result.losses[1], kInfinity);
    } else {
      EXPECT_EQ(result.losses[0], kInfinity);
    }
    for (const auto x : result.dlogits) EXPECT_TRUE(std::isfinite(Value(x)));
  }
}

TYPED_TEST(CrossEntropyTest, DoesNotDependOnTheNumberOfThreads) {
  const typename TestFixture::Problem problem(200, 4000, 0.1f);
  typename TestFixture::Options options;
  options.threads = 1;
  const auto one = TestFixture::Run(problem, options);
  options.threads = 3;
  const auto three = TestFixture::Run(problem, options);
  EXPECT_TRUE(Identical(one.losses, three.losses));
  EXPECT_TRUE(Identical(one.nlls, three.nlls));
  EXPECT_TRUE(Identical(one.dlogits, three.dlogits));
}

}  // namespace
}  // namespace tf_ls
