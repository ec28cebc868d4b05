#include "cc/kernels/packed_weights.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cc/kernels/logits.h"
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
using test::TestCpu;
using test::Unwritten;
using test::Value;

template <typename T>
constexpr double kTolerance = std::is_same<T, float>::value ? 2e-6 : 1e-2;

// A Cpu that knows what is packed of some weights.
template <typename T>
class CpuWithPacked {
 public:
  explicit CpuWithPacked(const std::vector<WeightPiece>& weights, int threads = 2)
      : plain_(threads), cpu_(plain_) {
    const size_t bytes = PlacePacked<T>(weights, nullptr, nullptr);
    memory_ = arena_.Allocate<unsigned char>(bytes);
    PackWeights<T>(plain_, weights, memory_);
    EXPECT_EQ(PlacePacked<T>(weights, memory_, &packed_), bytes);
    cpu_.packed_weights = &packed_;
  }
  CpuWithPacked(const CpuWithPacked&) = delete;
  CpuWithPacked& operator=(const CpuWithPacked&) = delete;

  const Cpu& cpu() const { return cpu_; }
  const PackedWeights& packed() const { return packed_; }

 private:
  const TestCpu plain_;
  test::NanArena arena_;
  unsigned char* memory_;
  PackedWeights packed_;
  Cpu cpu_;
};

template <typename DeviceAndType>
class PackedWeightsTest : public ::testing::Test {
 protected:
  using T = typename DeviceAndType::Type;

  struct Options {
    bool transposed = false;
    bool bias = false;
    bool accumulate = false;
  };

  // The weight is spoilt once it is packed: what products read is what was packed.
  static void Check(int64_t rows, int64_t inputs, int64_t outputs, const Options& options) {
    SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(inputs) + " to " +
                 std::to_string(outputs) + (options.transposed ? ", transposed" : "") +
                 (options.bias ? ", bias" : "") + (options.accumulate ? ", accumulate" : ""));
    const auto x = Random<T>(rows * inputs, 1);
    auto w = Random<float>(inputs * outputs, 2);
    const auto bias = Random<float>(outputs, 3);
    const auto before = Random<T>(rows * outputs, 4);
    std::vector<double> expected(rows * outputs);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < outputs; ++j) {
        double sum = options.bias ? bias[j] : 0.0;
        if (options.accumulate) sum += Value(before[i * outputs + j]);
        for (int64_t p = 0; p < inputs; ++p) {
          sum += Value(x[i * inputs + p]) *
                 (options.transposed ? w[j * inputs + p] : w[p * outputs + j]);
        }
        expected[i * outputs + j] = sum;
      }
    }
    const CpuWithPacked<T> device({options.transposed ? WeightPiece{w.data(), outputs, inputs, true}
                                                      : WeightPiece{w.data(), inputs, outputs}});
    const Weight weight = {w.data(), inputs, outputs, options.transposed};
    w.assign(w.size(), std::nanf(""));
    auto y = options.accumulate ? before : Unwritten<T>(rows * outputs);
    MatMul(device.cpu(), x.data(), rows, weight, options.bias ? bias.data() : nullptr,
           options.accumulate, y.data());
    EXPECT_TRUE(Close(y, expected, kTolerance<T>));
  }
};

TYPED_TEST_SUITE(PackedWeightsTest, test::DeviceTypes);

TYPED_TEST(PackedWeightsTest, ServeAnyNumberOfRows) {
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 8, 17, 63, 64, 65, 128, 129, 300}) {
    TestFixture::Check(rows, 24, 40, {});
    TestFixture::Check(rows, 48, 300, {/*transposed=*/true, /*bias=*/true});
  }
}

TYPED_TEST(PackedWeightsTest, MayHaveAnySizes) {
  for (const int64_t inputs : {2, 3, 17, 257, 700}) {
    for (const int64_t outputs : {2, 3, 17, 64, 257, 513}) {
      for (const bool transposed : {false, true}) {
        TestFixture::Check(5, inputs, outputs, {transposed, /*bias=*/true});
      }
    }
  }
}

TYPED_TEST(PackedWeightsTest, Accumulate) {
  for (const int64_t rows : {1, 130}) {
    for (const bool bias : {false, true}) {
      TestFixture::Check(rows, 17, 300, {false, bias, /*accumulate=*/true});
    }
  }
}

TYPED_TEST(PackedWeightsTest, MakeLogitsOfPiecesOfTheVocabulary) {
  using T = typename TestFixture::T;
  constexpr int64_t kRows = 7, kHidden = 40, kVocab = 900, kStride = 910;
  const auto x = Random<T>(kRows * kHidden, 1);
  // Weights that T holds exactly, so that only the logits' own rounding would show.
  auto w = test::Convert<float>(Random<T>(kVocab * kHidden, 2));
  const auto kept = w;
  const auto bias = Random<float>(kVocab, 3);
  const CpuWithPacked<T> device({{w.data(), kVocab, kHidden, /*transposed=*/true}});
  w.assign(w.size(), std::nanf(""));
  for (const float* const shift : {bias.data(), static_cast<const float*>(nullptr)}) {
    for (const auto& [first, count] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 900}, {0, 512}, {512, 256}, {768, 132}}) {
      auto logits = Unwritten<float>(kRows * kStride);
      Logits(device.cpu(), x.data(), {w.data(), shift, kHidden, kVocab},
             {logits.data(), kStride, kRows, first, count, kVocab});
      std::vector<float> actual;
      std::vector<double> expected;
      for (int64_t i = 0; i < kRows; ++i) {
        for (int64_t j = 0; j < count; ++j) {
          double sum = shift == nullptr ? 0.0 : shift[first + j];
          for (int64_t p = 0; p < kHidden; ++p) {
            sum += Value(x[i * kHidden + p]) * kept[(first + j) * kHidden + p];
          }
          expected.push_back(sum);
          actual.push_back(logits[i * kStride + j]);
        }
      }
      EXPECT_TRUE(Close(actual, expected)) << "float32, whatever T is";
    }
  }
}

TYPED_TEST(PackedWeightsTest, DoNotDependOnTheNumberOfThreads) {
  using T = typename TestFixture::T;
  const auto w = Random<float>(33 * 600, 7);
  const auto x = Random<T>(30 * 33, 8);
  const auto with_threads = [&](int threads) {
    const CpuWithPacked<T> device({{w.data(), 33, 600}}, threads);
    auto y = Unwritten<T>(30 * 600);
    MatMul(device.cpu(), x.data(), 30, Weight{w.data(), 33, 600}, nullptr, false, y.data());
    return y;
  };
  EXPECT_TRUE(Identical(with_threads(1), with_threads(3)));
}

TYPED_TEST(PackedWeightsTest, AreFoundForWhatTheyWerePackedFor) {
  using T = typename TestFixture::T;
  const auto w = Random<float>(6, 1), v = Random<float>(6, 2), bias = Random<float>(3, 3);
  const CpuWithPacked<T> device(
      {{w.data(), 2, 3}, {bias.data(), 1, 3}, {v.data(), 3, 2, /*transposed=*/true}});
  const auto type = ProductType<T>();
  const auto found = [&](const Weight& weight) {
    return device.packed().Find(weight, type) != nullptr;
  };
  EXPECT_TRUE(found({w.data(), 2, 3}));
  EXPECT_TRUE(found({v.data(), 2, 3, true}));
  EXPECT_FALSE(found(Weight{w.data(), 2, 3}.Transposed()));
  EXPECT_FALSE(found({w.data(), 3, 2}));
  EXPECT_FALSE(found({w.data() + 1, 2, 3}));
  EXPECT_FALSE(found({bias.data(), 1, 3})) << "a vector";
  EXPECT_EQ(device.packed().Find({w.data(), 2, 3}, dnnl::memory::data_type::s8), nullptr);
}

// A product that reads what was packed of numbers of this type, which are not there any more.
template <typename T, typename From>
std::vector<T> ProductPackedFrom(std::vector<From> w, const WeightPiece& shape,
                                 const std::vector<T>& x) {
  WeightPiece piece = shape;
  piece.numbers = w.data();
  const CpuWithPacked<T> device({piece});
  w.assign(w.size(), From{});
  const Weight stored = {piece.name(), shape.rows, shape.columns};
  const Weight weight = shape.transposed ? stored.Transposed() : stored;
  auto y = Unwritten<T>(3 * weight.outputs);
  MatMul(device.cpu(), x.data(), 3, weight, nullptr, false, y.data());
  return y;
}

TYPED_TEST(PackedWeightsTest, MayBePackedFromHalfPrecision) {
  using T = typename TestFixture::T;
  for (const WeightPiece& shape :
       {WeightPiece{{}, 33, 700}, WeightPiece{{}, 700, 33, true}, WeightPiece{{}, 5, 3}}) {
    const auto x = Random<T>(3 * (shape.transposed ? shape.columns : shape.rows), 1);
    const auto check = [&](const auto& w) {
      const auto wide = Convert<float>(w);
      EXPECT_TRUE(Identical(ProductPackedFrom(w, shape, x), ProductPackedFrom(wide, shape, x)));
    };
    check(Random<float16>(shape.count(), 2));
    check(Random<bfloat16>(shape.count(), 3));
  }
}

TYPED_TEST(PackedWeightsTest, AreCutBetweenSlicesOnly) {
  using T = typename TestFixture::T;
  const auto w = Random<float>(600 * 8, 1);
  const auto x = Random<T>(8, 2);
  const CpuWithPacked<T> device({{w.data(), 600, 8, /*transposed=*/true}});
  auto logits = Unwritten<float>(600);
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{3, 256}, {0, 100}}) {
    EXPECT_THROW(Logits(device.cpu(), x.data(), {w.data(), nullptr, 8, 600},
                        {logits.data(), 600, 1, first, count, 600}),
                 std::logic_error);
  }
}

}  // namespace
}  // namespace tf_ls
