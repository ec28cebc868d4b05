#include "cc/kernels/int8_weight.h"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cc/kernels/logits.h"
#include "cc/kernels/packed_weights.h"
#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Identical;
using test::Random;
using test::TestCpu;
using test::Unwritten;
using test::Value;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A Cpu that knows some weights in int8.
class CpuWithInt8 {
 public:
  explicit CpuWithInt8(const std::vector<WeightPiece>& weights, int threads = 2) : plain_(threads) {
    PackInt8(plain_, weights, Place(weights));
    Use(weights);
  }
  CpuWithInt8(const CpuWithInt8&) = delete;
  CpuWithInt8& operator=(const CpuWithInt8&) = delete;

  const Cpu& cpu() const { return cpu_; }
  const PackedWeights& packed() const { return packed_; }

 private:
  unsigned char* Place(const std::vector<WeightPiece>& weights) {
    memory_ = arena_.Allocate<unsigned char>(PlaceInt8(weights, nullptr, nullptr));
    return memory_;
  }
  void Use(const std::vector<WeightPiece>& weights) {
    PlaceInt8(weights, memory_, &packed_);
    cpu_.packed_weights = &packed_;
  }

  const TestCpu plain_;
  test::NanArena arena_;
  unsigned char* memory_ = nullptr;
  PackedWeights packed_;
  Cpu cpu_ = plain_;
};

// A product and what it is by the numbers that its operands are rounded to: sums of whole numbers.
template <typename T>
struct Case {
  int64_t rows, inputs, outputs;
  bool transposed = false;
  bool bias = false;
  bool accumulate = false;

  std::vector<T> x = Random<T>(rows * inputs, 1);
  std::vector<float> w = Random<float>(inputs * outputs, 2);
  std::vector<float> shift = Random<float>(outputs, 3);
  std::vector<T> before = Random<T>(rows * outputs, 4);

  WeightPiece piece() const {
    return transposed ? WeightPiece{w.data(), outputs, inputs, true}
                      : WeightPiece{w.data(), inputs, outputs};
  }
  Weight weight() const { return {w.data(), inputs, outputs, transposed}; }
  int64_t At(int64_t input, int64_t output) const {
    return transposed ? output * inputs + input : input * outputs + output;
  }
  double Start(int64_t row, int64_t output) const {
    return (bias ? shift[output] : 0.0) + (accumulate ? Value(before[row * outputs + output]) : 0);
  }

  std::vector<double> Exact() const {
    const TestCpu device;
    const Cpu& cpu = device;
    const QuantizedRows q = QuantizeRows(cpu, x.data(), rows, inputs);
    std::vector<int8_t> numbers(w.size());
    std::vector<float> scales(outputs);
    QuantizeWeight(cpu, weight(), numbers.data(), scales.data());
    std::vector<double> y;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < outputs; ++j) {
        int64_t sum = 0;
        for (int64_t p = 0; p < inputs; ++p) {
          sum += (q.numbers[i * q.stride + p] - kInt8Offset) * numbers[At(p, j)];
        }
        y.push_back(static_cast<double>(sum) * q.scales[i] * scales[j] + Start(i, j));
      }
    }
    return y;
  }

  std::vector<T> Run(const Cpu& cpu) const {
    auto y = accumulate ? before : Unwritten<T>(rows * outputs);
    MatMul(cpu, x.data(), rows, weight(), bias ? shift.data() : nullptr, accumulate, y.data());
    return y;
  }

  // What is multiplied is what was packed: the weight is spoilt meanwhile.
  void Check() {
    SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(inputs) + " to " +
                 std::to_string(outputs) + (transposed ? ", transposed" : "") +
                 (bias ? ", bias" : "") + (accumulate ? ", accumulate" : ""));
    const auto expected = Exact();
    const CpuWithInt8 device(std::vector<WeightPiece>{piece()});
    w.assign(w.size(), kNan);
    EXPECT_TRUE(Close(Run(device.cpu()), expected));
  }
};

template <typename DeviceAndType>
class Int8WeightTest : public ::testing::Test {
 protected:
  using T = typename DeviceAndType::Type;
};
TYPED_TEST_SUITE(Int8WeightTest, test::DeviceTypes);

TYPED_TEST(Int8WeightTest, MultipliesAnyNumberOfRows) {
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 18, 64, 191, 192, 193, 400}) {
    Case<typename TestFixture::T>{rows, 24, 40}.Check();
    Case<typename TestFixture::T>{rows, 48, 300, /*transposed=*/true, /*bias=*/true}.Check();
  }
}

TYPED_TEST(Int8WeightTest, HasAnySize) {
  for (const int64_t inputs : {2, 3, 4, 5, 17, 257, 700}) {
    for (const int64_t outputs : {2, 3, 17, 63, 64, 65, 257}) {
      for (const bool transposed : {false, true}) {
        Case<typename TestFixture::T>{5, inputs, outputs, transposed, /*bias=*/true}.Check();
      }
    }
  }
}

TYPED_TEST(Int8WeightTest, Accumulates) {
  for (const int64_t rows : {1, 130}) {
    for (const bool bias : {false, true}) {
      Case<typename TestFixture::T>{rows, 17, 150, false, bias, /*accumulate=*/true}.Check();
    }
  }
}

TYPED_TEST(Int8WeightTest, IsAsFarFromFloat32AsItsRounding) {
  using T = typename TestFixture::T;
  Case<T> c{7, 203, 90};
  const CpuWithInt8 device(std::vector<WeightPiece>{c.piece()});
  const auto y = c.Run(device.cpu());
  const auto scale_of = [](const std::vector<double>& numbers) {
    double largest = 0.0;
    for (const double number : numbers) largest = std::max(largest, std::fabs(number));
    return largest / 127;
  };
  double largest_part = 0.0;  // of the bound
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.outputs; ++j) {
      std::vector<double> row, column;
      for (int64_t p = 0; p < c.inputs; ++p) {
        row.push_back(Value(c.x[i * c.inputs + p]));
        column.push_back(c.w[c.At(p, j)]);
      }
      const double row_scale = scale_of(row), column_scale = scale_of(column);
      // (x + dx) (w + dw) - x w, with dx and dw half a scale at most.
      double exact = 0.0, bound = 0.0;
      for (int64_t p = 0; p < c.inputs; ++p) {
        exact += row[p] * column[p];
        bound += (std::fabs(row[p]) * column_scale + std::fabs(column[p]) * row_scale +
                  row_scale * column_scale / 2) /
                 2;
      }
      const double rounding = test::kTolerance<T> * std::fabs(exact) + 1e-5 * bound;
      const double error = std::fabs(Value(y[i * c.outputs + j]) - exact);
      ASSERT_LE(error, bound + rounding);
      largest_part = std::max(largest_part, (error - rounding) / bound);
    }
  }
  EXPECT_GT(largest_part, 0.0) << "it was not quantised";
}

TYPED_TEST(Int8WeightTest, GivesTheBiasForRowsAndOutputsOfZeros) {
  using T = typename TestFixture::T;
  Case<T> c{3, 20, 70, /*transposed=*/false, /*bias=*/true};
  for (int64_t p = 0; p < c.inputs; ++p) {
    test::Assign(0.0, &c.x[c.inputs + p]);
    c.w[c.At(p, 65)] = 0.0f;
  }
  const CpuWithInt8 device(std::vector<WeightPiece>{c.piece()});
  const auto y = c.Run(device.cpu());
  EXPECT_TRUE(Close(y, c.Exact()));
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.outputs; ++j) {
      T expected;
      test::Assign(c.shift[j], &expected);
      if (i == 1 || j == 65) {
        EXPECT_EQ(Value(y[i * c.outputs + j]), Value(expected));
      }
    }
  }
}

TYPED_TEST(Int8WeightTest, GivesNanForRowsAndOutputsThatAreNotFinite) {
  using T = typename TestFixture::T;
  for (const float bad : {kNan, kInf, -kInf}) {
    Case<T> c{8, 20, 70, /*transposed=*/false, /*bias=*/true, /*accumulate=*/true};
    test::Assign(bad, &c.x[3 * c.inputs + 7]);
    c.w[c.At(11, 65)] = bad;
    const CpuWithInt8 device(std::vector<WeightPiece>{c.piece()});
    const auto y = c.Run(device.cpu());
    for (int64_t i = 0; i < c.rows; ++i) {
      for (int64_t j = 0; j < c.outputs; ++j) {
        EXPECT_EQ(std::isnan(Value(y[i * c.outputs + j])), i == 3 || j == 65) << i << ", " << j;
      }
    }
  }
}

TYPED_TEST(Int8WeightTest, MayBeStoredInInt8) {
  using T = typename TestFixture::T;
  for (const bool transposed : {false, true}) {
    const Case<T> c{9, 30, 130, transposed, /*bias=*/true};
    std::vector<int8_t> numbers(c.w.size());
    std::vector<float> scales(c.outputs);
    QuantizeWeight(TestCpu(), c.weight(), numbers.data(), scales.data());
    const CpuWithInt8 expected(std::vector<WeightPiece>{c.piece()});
    WeightPiece piece = c.piece();
    piece.numbers = Int8Numbers{numbers.data(), scales.data()};
    const CpuWithInt8 device(std::vector<WeightPiece>{piece});
    const Weight weight = {piece.name(), c.inputs, c.outputs, transposed};
    auto y = Unwritten<T>(c.rows * c.outputs);
    MatMul(device.cpu(), c.x.data(), c.rows, weight, c.shift.data(), false, y.data());
    EXPECT_TRUE(Identical(y, c.Run(expected.cpu())));
  }
}

TYPED_TEST(Int8WeightTest, MakesLogitsOfPiecesOfTheVocabulary) {
  using T = typename TestFixture::T;
  constexpr int64_t kStride = 910;
  const Case<T> c{7, 40, 900, /*transposed=*/true, /*bias=*/true};
  // In float32 whatever T is.
  const std::vector<double> all = c.Exact();
  const CpuWithInt8 device(std::vector<WeightPiece>{c.piece()});
  for (const auto& [first, count] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 900}, {0, 512}, {512, 256}, {768, 132}}) {
    auto logits = Unwritten<float>(c.rows * kStride);
    Logits(device.cpu(), c.x.data(), {c.w.data(), c.shift.data(), c.inputs, c.outputs},
           {logits.data(), kStride, c.rows, first, count, c.outputs});
    std::vector<float> actual;
    std::vector<double> expected;
    for (int64_t i = 0; i < c.rows; ++i) {
      for (int64_t j = 0; j < count; ++j) {
        expected.push_back(all[i * c.outputs + first + j]);
        actual.push_back(logits[i * kStride + j]);
      }
    }
    EXPECT_TRUE(Close(actual, expected));
  }
}

TYPED_TEST(Int8WeightTest, DoesNotDependOnTheNumberOfThreads) {
  const Case<typename TestFixture::T> c{200, 33, 600};
  const CpuWithInt8 one(std::vector<WeightPiece>{c.piece()}, 1),
      three(std::vector<WeightPiece>{c.piece()}, 3);
  EXPECT_TRUE(Identical(c.Run(one.cpu()), c.Run(three.cpu())));
}

TYPED_TEST(Int8WeightTest, IsFoundForWhatItWasPackedFor) {
  const auto w = Random<float>(6, 1), v = Random<float>(6, 2), bias = Random<float>(3, 3);
  const CpuWithInt8 device(std::vector<WeightPiece>{
      {w.data(), 2, 3}, {bias.data(), 1, 3}, {v.data(), 3, 2, /*transposed=*/true}});
  const auto found = [&](const Weight& weight) {
    return device.packed().FindInt8(weight) != nullptr;
  };
  EXPECT_TRUE(found({w.data(), 2, 3}));
  EXPECT_TRUE(found({v.data(), 2, 3, true}));
  EXPECT_FALSE(found(Weight{w.data(), 2, 3}.Transposed()));
  EXPECT_FALSE(found({w.data(), 3, 2}));
  EXPECT_FALSE(found({w.data() + 1, 2, 3}));
  EXPECT_FALSE(found({bias.data(), 1, 3})) << "a vector";
}

TYPED_TEST(Int8WeightTest, StandsBesideWeightsInOtherTypes) {
  using T = typename TestFixture::T;
  // A layer that loses too much may stay as it is.
  const Case<T> exact{3, 20, 30}, rounded{3, 20, 30, /*transposed=*/true};
  const CpuWithInt8 device(std::vector<WeightPiece>{rounded.piece()});
  const TestCpu plain;
  EXPECT_TRUE(Identical(exact.Run(device.cpu()), exact.Run(plain)));
  EXPECT_FALSE(Identical(rounded.Run(device.cpu()), rounded.Run(plain)));
}

TYPED_TEST(Int8WeightTest, SumsOverAsManyInputsAsFitInto32Bits) {
  using T = typename TestFixture::T;
  Case<T> c{2, Int8Weight::kMostInputs, 2, /*transposed=*/true};
  for (T& x : c.x) test::Assign(-1.0, &x);
  c.w.assign(c.w.size(), 1.0f);
  c.Check();
  const Weight larger = {c.w.data(), Int8Weight::kMostInputs + 1, 2};
  EXPECT_THROW(Int8Weight(larger, nullptr), std::invalid_argument);
}

TYPED_TEST(Int8WeightTest, IsCutBetweenPanelsOnly) {
  using T = typename TestFixture::T;
  const Case<T> c{1, 8, 600, /*transposed=*/true};
  const CpuWithInt8 device(std::vector<WeightPiece>{c.piece()});
  auto logits = Unwritten<float>(600);
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{3, 256}, {0, 100}}) {
    EXPECT_THROW(Logits(device.cpu(), c.x.data(), {c.w.data(), nullptr, 8, 600},
                        {logits.data(), 600, 1, first, count, 600}),
                 std::logic_error);
  }
}

}  // namespace
}  // namespace tf_ls
