#include "cc/kernels/adam.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::Identical;
using test::Random;
using test::TestCpu;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A variable with its moments and a gradient.
template <typename T>
struct Numbers {
  std::vector<T> variable, m, v, gradient;
  std::vector<int64_t> indices;
  int64_t row_size = 0;
  bool sparse = false;
  float weight_decay = 0.0f;

  int64_t size() const { return variable.size(); }
};

Numbers<float> Dense(int64_t size, uint32_t seed) {
  Numbers<float> numbers;
  numbers.variable = Random<float>(size, seed);
  numbers.m = Random<float>(size, seed + 1, 0.1);
  numbers.v = Random<float>(size, seed + 2, 0.1);
  for (float& value : numbers.v) value = std::fabs(value);
  numbers.gradient = Random<float>(size, seed + 3);
  return numbers;
}

Numbers<float> Sparse(int64_t rows, int64_t row_size, const std::vector<int64_t>& indices,
                      uint32_t seed) {
  Numbers<float> numbers = Dense(rows * row_size, seed);
  numbers.gradient = Random<float>(indices.size() * row_size, seed + 3);
  numbers.indices = indices;
  numbers.row_size = row_size;
  numbers.sparse = true;
  return numbers;
}

// A bit of everything: sizes around a piece's and a vector's, and rows that come several times.
std::vector<Numbers<float>> Mixed() {
  std::vector<Numbers<float>> all;
  for (const int64_t size : {1, 0, 17, 4096, 9001}) all.push_back(Dense(size, 10 + size));
  all.push_back(Sparse(1000, 24, {3, 999, 3, 0, 500, 3, 999}, 1));
  all.push_back(Sparse(3, 5000, {2, 2}, 2));
  all.push_back(Sparse(5000, 1, {4999, 17, 17}, 3));
  all.push_back(Sparse(7, 3, {}, 4));
  all.push_back(Sparse(0, 3, {}, 5));
  all.push_back(Sparse(4, 0, {1, 1}, 6));
  for (size_t i = 0; i < all.size(); i += 2) all[i].weight_decay = 0.1f * i;
  return all;
}

struct Outcome {
  std::vector<Numbers<float>> numbers;
  bool finite = false;
  float norm = kNaN;
};

Outcome Step(std::vector<Numbers<float>> numbers, const AdamOptions& options, int threads = 2) {
  Outcome outcome;
  outcome.numbers = std::move(numbers);
  std::vector<AdamVariable> variables;
  for (Numbers<float>& n : outcome.numbers) {
    variables.push_back({n.variable.data(), n.m.data(), n.v.data(), n.size(), n.weight_decay,
                         n.gradient.data(), n.sparse, n.indices.data(),
                         static_cast<int64_t>(n.indices.size()), n.row_size});
  }
  Adam(TestCpu(threads), options, variables, &outcome.finite, &outcome.norm);
  return outcome;
}

// The same in double precision, on dense gradients. Returns the norm.
double Reference(const AdamOptions& o, std::vector<Numbers<double>>* all) {
  double total = 0.0;
  std::vector<double> norms;
  for (Numbers<double>& n : *all) {
    double squares = 0.0;
    for (double& g : n.gradient) {
      g = std::max(-o.clip_value, std::min(o.clip_value, g * o.gradient_factor));
      squares += g * g;
    }
    norms.push_back(std::sqrt(squares));
    total += squares;
    if (!n.sparse) continue;
    std::vector<double> dense(n.size(), 0.0);
    for (size_t i = 0; i < n.gradient.size(); ++i) {
      dense[n.indices[i / n.row_size] * n.row_size + i % n.row_size] += n.gradient[i];
    }
    n.gradient = dense;
  }
  for (size_t i = 0; i < all->size(); ++i) {
    const double norm = o.clip_each ? norms[i] : std::sqrt(total);
    const double clip = norm > o.clip_norm ? o.clip_norm / norm : 1.0;
    Numbers<double>& n = (*all)[i];
    for (int64_t j = 0; j < n.size(); ++j) {
      const double g = n.gradient[j] * clip;
      n.m[j] = o.beta1 * n.m[j] + (1.0 - o.beta1) * g;
      n.v[j] = o.beta2 * n.v[j] + (1.0 - o.beta2) * g * g;
      n.variable[j] *= 1.0 - o.learning_rate * n.weight_decay;
      n.variable[j] -= o.learning_rate * std::sqrt(1.0 - o.beta2_power) / (1.0 - o.beta1_power) *
                       n.m[j] / (std::sqrt(n.v[j]) + o.epsilon);
    }
  }
  return std::sqrt(total);
}

std::vector<Numbers<double>> InDouble(const std::vector<Numbers<float>>& all) {
  std::vector<Numbers<double>> result;
  for (const Numbers<float>& n : all) {
    result.push_back({Convert<double>(n.variable), Convert<double>(n.m), Convert<double>(n.v),
                      Convert<double>(n.gradient), n.indices, n.row_size, n.sparse,
                      n.weight_decay});
  }
  return result;
}

AdamOptions Options() {
  AdamOptions options;
  options.learning_rate = 0.01;
  options.beta1_power = 0.729;  // step 3
  options.beta2_power = 0.997;
  return options;
}

void ExpectLikeReference(const AdamOptions& options) {
  const std::vector<Numbers<float>> before = Mixed();
  const Outcome after = Step(before, options);
  std::vector<Numbers<double>> expected = InDouble(before);
  const double norm = Reference(options, &expected);
  EXPECT_TRUE(after.finite);
  EXPECT_NEAR(after.norm / norm, 1.0, 1e-6);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(Close(after.numbers[i].variable, expected[i].variable)) << "variable " << i;
    EXPECT_TRUE(Close(after.numbers[i].m, expected[i].m)) << "m " << i;
    EXPECT_TRUE(Close(after.numbers[i].v, expected[i].v)) << "v " << i;
  }
}

void ExpectUntouched(const Outcome& after, const std::vector<Numbers<float>>& before) {
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(Identical(after.numbers[i].variable, before[i].variable));
    EXPECT_TRUE(Identical(after.numbers[i].m, before[i].m));
    EXPECT_TRUE(Identical(after.numbers[i].v, before[i].v));
  }
}

TEST(AdamTest, AgreesWithDoublePrecision) { ExpectLikeReference(Options()); }

TEST(AdamTest, TakesTheFirstStep) {
  AdamOptions options = Options();
  options.beta1_power = options.beta1;
  options.beta2_power = options.beta2;
  ExpectLikeReference(options);
}

TEST(AdamTest, ScalesGradients) {
  AdamOptions options = Options();
  options.gradient_factor = 1.0 / 1024.0;
  ExpectLikeReference(options);
}

TEST(AdamTest, ClipsByValue) {
  AdamOptions options = Options();
  options.gradient_factor = 3.0;
  options.clip_value = 0.5;
  ExpectLikeReference(options);
}

TEST(AdamTest, ClipsByGlobalNorm) {
  AdamOptions options = Options();
  for (const double norm : {0.0, 0.5, 1e6}) {
    options.clip_norm = norm;
    ExpectLikeReference(options);
  }
}

TEST(AdamTest, ClipsByTheNormOfEach) {
  AdamOptions options = Options();
  options.clip_norm = 2.0;  // some are below, some above
  options.clip_each = true;
  ExpectLikeReference(options);
}

TEST(AdamTest, ClipsByValueFirstAndThenByNorm) {
  AdamOptions options = Options();
  options.clip_value = 0.5;
  options.clip_norm = 1.0;
  ExpectLikeReference(options);
}

TEST(AdamTest, OfSparseGradientsIsAdamOfTheirSum) {
  const std::vector<int64_t> indices = {5, 1, 5, 5};
  const Numbers<float> sparse = Sparse(6, 7, indices, 1);
  Numbers<float> dense = sparse;
  dense.sparse = false;
  dense.gradient.assign(6 * 7, 0.0f);
  for (size_t i = 0; i < sparse.gradient.size(); ++i) {
    dense.gradient[indices[i / 7] * 7 + i % 7] += sparse.gradient[i];
  }
  const Outcome a = Step({sparse}, Options());
  const Outcome b = Step({dense}, Options());
  EXPECT_TRUE(Identical(a.numbers[0].variable, b.numbers[0].variable));
  EXPECT_TRUE(Identical(a.numbers[0].m, b.numbers[0].m));
  EXPECT_TRUE(Identical(a.numbers[0].v, b.numbers[0].v));
}

TEST(AdamTest, DoesNotDependOnTheNumberOfThreads) {
  AdamOptions options = Options();
  options.clip_norm = 1.0;
  const Outcome one = Step(Mixed(), options, 1);
  const Outcome three = Step(Mixed(), options, 3);
  EXPECT_EQ(one.norm, three.norm);
  for (size_t i = 0; i < one.numbers.size(); ++i) {
    EXPECT_TRUE(Identical(one.numbers[i].variable, three.numbers[i].variable));
  }
}

TEST(AdamTest, GivesTheSameWhetherGradientsAreReadBeforehandOrNot) {
  AdamOptions beforehand = Options();
  beforehand.skip_nonfinite = true;
  const Outcome a = Step(Mixed(), Options());
  const Outcome b = Step(Mixed(), beforehand);
  EXPECT_EQ(a.norm, b.norm);
  EXPECT_EQ(a.finite, b.finite);
  for (size_t i = 0; i < a.numbers.size(); ++i) {
    EXPECT_TRUE(Identical(a.numbers[i].variable, b.numbers[i].variable));
  }
}

TEST(AdamTest, SkipsTheStepIfOneGradientIsNotFinite) {
  for (const float bad : {kInfinity, -kInfinity, kNaN}) {
    for (const size_t which : {0, 4, 5}) {
      for (const double clip_value : {double{kInfinity}, 0.5}) {
        std::vector<Numbers<float>> before = Mixed();
        before[which].gradient.back() = bad;
        AdamOptions options = Options();
        options.clip_value = clip_value;
        options.skip_nonfinite = true;
        const Outcome after = Step(before, options);
        EXPECT_FALSE(after.finite) << bad << " in " << which;
        ExpectUntouched(after, before);
      }
    }
  }
}

TEST(AdamTest, AppliesWhatIsNotFiniteUnlessToldToSkip) {
  std::vector<Numbers<float>> before = Mixed();
  before[4].gradient[3] = kNaN;
  const Outcome after = Step(before, Options());
  EXPECT_FALSE(after.finite);
  EXPECT_TRUE(std::isnan(after.norm));
  EXPECT_TRUE(std::isnan(after.numbers[4].variable[3]));
  EXPECT_FALSE(std::isnan(after.numbers[4].variable[2]));
}

TEST(AdamTest, ClipsNothingToAGlobalNormThatIsNotFinite) {
  std::vector<Numbers<float>> before = Mixed();
  before[4].gradient[3] = kInfinity;
  AdamOptions options = Options();
  options.clip_norm = 1.0;
  const Outcome after = Step(before, options);
  EXPECT_FALSE(after.finite);
  EXPECT_TRUE(std::isnan(after.numbers[0].variable[0])) << "as tf.clip_by_global_norm";
}

TEST(AdamTest, TakesTheNormOfTheLargestNumbers) {
  Numbers<float> huge = Dense(100, 1);
  huge.gradient.assign(100, 3e37f);  // its square is no float32
  AdamOptions options = Options();
  options.clip_norm = 1.0;
  const Outcome after = Step({huge}, options);
  EXPECT_TRUE(after.finite);
  EXPECT_FLOAT_EQ(after.norm, 3e38f);
  std::vector<Numbers<double>> expected = InDouble({huge});
  Reference(options, &expected);
  EXPECT_TRUE(Close(after.numbers[0].variable, expected[0].variable));
}

TEST(AdamTest, TakesNoVariables) {
  const Outcome after = Step({}, Options());
  EXPECT_TRUE(after.finite);
  EXPECT_EQ(after.norm, 0.0f);
}

}  // namespace
}  // namespace tf_ls
