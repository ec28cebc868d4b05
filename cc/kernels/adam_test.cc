#include "cc/kernels/adam.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
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
using test::TestedDevice;
using test::Testing;

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
  int64_t bad_row = -1;  // as the GPU tells of it
};

template <typename T>
using OnDevice = Testing<TestedDevice>::Numbers<T>;

// Numbers in the device's memory, behind `shift` others that nobody is to touch.
class Shifted {
 public:
  Shifted(const std::vector<float>& numbers, int64_t shift)
      : shift_(shift), memory_(Behind(shift, numbers)) {}

  float* data() { return memory_.data() + shift_; }
  std::vector<float> host() const {
    const std::vector<float> all = memory_.host();
    EXPECT_EQ(std::count(all.begin(), all.begin() + shift_, kGuard), shift_);
    return {all.begin() + shift_, all.end()};
  }

 private:
  static constexpr float kGuard = 1234.5f;

  static std::vector<float> Behind(int64_t shift, const std::vector<float>& numbers) {
    std::vector<float> all(shift, kGuard);
    all.insert(all.end(), numbers.begin(), numbers.end());
    return all;
  }

  const int64_t shift_;
  OnDevice<float> memory_;
};

// Numbers in the device's memory.
struct DeviceNumbers {
  DeviceNumbers(const Numbers<float>& n, int64_t shift)
      : variable(n.variable, shift),
        m(n.m, shift),
        v(n.v, shift),
        gradient(n.gradient, shift),
        indices(n.indices) {}

  Shifted variable, m, v, gradient;
  OnDevice<int64_t> indices;
};

#ifdef TF_LS_TEST_GPU
void RunAdam(const Gpu& gpu, const AdamOptions& options, const std::vector<AdamVariable>& variables,
             bool* finite, float* norm, int64_t* bad_row) {
  Adam(gpu, options, variables, finite, norm, bad_row);
}
#else
void RunAdam(const Cpu& cpu, const AdamOptions& options, const std::vector<AdamVariable>& variables,
             bool* finite, float* norm, int64_t* /*bad_row*/) {
  Adam(cpu, options, variables, finite, norm);
}
#endif

Outcome Step(std::vector<Numbers<float>> numbers, const AdamOptions& options, int threads = 2,
             int64_t shift = 0) {
  Outcome outcome;
  outcome.numbers = std::move(numbers);
  std::vector<DeviceNumbers> on_device;
  on_device.reserve(outcome.numbers.size());
  std::vector<AdamVariable> variables;
  for (const Numbers<float>& n : outcome.numbers) {
    on_device.emplace_back(n, shift);
    DeviceNumbers& d = on_device.back();
    variables.push_back({d.variable.data(), d.m.data(), d.v.data(), n.size(), n.weight_decay,
                         d.gradient.data(), n.sparse, d.indices.data(),
                         static_cast<int64_t>(n.indices.size()), n.row_size});
  }
  OnDevice<unsigned char> finite({7});
  OnDevice<float> norm({kNaN});
  OnDevice<int64_t> bad_row({-1});
  const Testing<TestedDevice>::Instance device(threads);
  RunAdam(device, options, variables, reinterpret_cast<bool*>(finite.data()), norm.data(),
          bad_row.data());
  for (size_t i = 0; i < on_device.size(); ++i) {
    outcome.numbers[i].variable = on_device[i].variable.host();
    outcome.numbers[i].m = on_device[i].m.host();
    outcome.numbers[i].v = on_device[i].v.host();
  }
  EXPECT_LE(finite.host()[0], 1);
  outcome.finite = finite.host()[0] != 0;
  outcome.norm = norm.host()[0];
  outcome.bad_row = bad_row.host()[0];
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

void ExpectLikeReference(const AdamOptions& options,
                         const std::vector<Numbers<float>>& before = Mixed(), int64_t shift = 0) {
  const Outcome after = Step(before, options, /*threads=*/2, shift);
  std::vector<Numbers<double>> expected = InDouble(before);
  const double norm = Reference(options, &expected);
  EXPECT_TRUE(after.finite);
  EXPECT_EQ(after.bad_row, -1);
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

// Vectors of numbers may not be read there at once.
TEST(AdamTest, TakesNumbersAtAnyAddress) {
  AdamOptions options = Options();
  for (const double norm : {1.0, double{kInfinity}}) {
    options.clip_norm = norm;
    for (const int64_t shift : {1, 2, 3}) ExpectLikeReference(options, Mixed(), shift);
  }
}

TEST(AdamTest, TakesManyVariables) {
  std::vector<Numbers<float>> many;
  for (int i = 0; i < 300; ++i) {
    many.push_back(i % 3 == 0 ? Sparse(5, 1 + i % 8, {4, i % 5, 4}, i) : Dense(1 + i % 7, i));
  }
  AdamOptions options = Options();
  ExpectLikeReference(options, many);
  options.clip_norm = 0.5;
  for (const bool each : {false, true}) {
    options.clip_each = each;
    ExpectLikeReference(options, many);
  }
}

TEST(AdamTest, TakesManyRowsOfFewIndices) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < 20000; ++i) indices.push_back(i * i % 7919 % 700);
  ExpectLikeReference(Options(), {Sparse(1000, 8, indices, 1), Sparse(701, 3, indices, 2)});
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

#ifdef TF_LS_TEST_GPU
// Where only the GPU sees the indices.
TEST(AdamTest, UpdatesNothingAndNamesTheFirstRowWhoseIndexIsOutOfRange) {
  for (const int64_t bad : {int64_t{-1}, int64_t{1000}, INT64_MAX, INT64_MIN}) {
    for (const bool skip_nonfinite : {false, true}) {
      std::vector<Numbers<float>> before = Mixed();
      before[5].indices[4] = bad;
      before[5].indices[6] = bad;
      before[7].indices[1] = 5000;
      AdamOptions options = Options();
      options.skip_nonfinite = skip_nonfinite;
      Outcome after = Step(before, options);
      EXPECT_EQ(after.bad_row, 4);
      ExpectUntouched(after, before);

      // The others make finite and norm.
      std::vector<Numbers<double>> others = InDouble(before);
      for (const auto& row : {std::pair<int, int>{5, 4}, {5, 6}, {7, 1}}) {
        Numbers<double>& n = others[row.first];
        const auto start = n.gradient.begin() + row.second * n.row_size;
        std::fill(start, start + n.row_size, 0.0);
        n.indices[row.second] = 0;
        before[row.first].gradient[row.second * n.row_size] = kInfinity;
      }
      EXPECT_NEAR(after.norm / Reference(options, &others), 1.0, 1e-6);
      EXPECT_TRUE(Step(before, options).finite);

      before[5].indices = {3, 999, 3, 0, 500, 3, 999};
      after = Step(before, options);
      EXPECT_EQ(after.bad_row, 7 + 2 + 1) << "rows of all sparse gradients count";
      EXPECT_FALSE(after.finite);
    }
  }
}

TEST(AdamTest, NeedsSomewhereToNameARowOnlyIfThereAreAny) {
  const test::TestGpu gpu;
  DeviceNumbers dense(Dense(5, 1), 0), sparse(Sparse(2, 3, {1}, 1), 0);
  OnDevice<unsigned char> finite({7});
  OnDevice<float> norm({kNaN});
  const auto run = [&](const AdamVariable& variable) {
    Adam(gpu, Options(), {variable}, reinterpret_cast<bool*>(finite.data()), norm.data(),
         /*bad_row=*/nullptr);
  };
  run({dense.variable.data(), dense.m.data(), dense.v.data(), 5, 0.0f, dense.gradient.data()});
  EXPECT_EQ(finite.host()[0], 1);
  EXPECT_THROW(run({sparse.variable.data(), sparse.m.data(), sparse.v.data(), 6, 0.0f,
                    sparse.gradient.data(), true, sparse.indices.data(), 1, 3}),
               std::invalid_argument);
}
#endif

TEST(AdamTest, TakesNoVariables) {
  const Outcome after = Step({}, Options());
  EXPECT_TRUE(after.finite);
  EXPECT_EQ(after.norm, 0.0f);
}

}  // namespace
}  // namespace tf_ls
