#include "cc/layers/encoder_layer.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/ragged.h"
#include "cc/testing/reference_layer.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/tiny_options.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::Identical;
using test::LayerWeights;
using test::Numbers;
using test::NumericGradient;
using test::Ragged;
using test::Random;
using test::TestCpu;
using test::TinyEncoderOptions;
using test::Unwritten;
using test::WithDropout;

// Bfloat16 rounds between all steps of the layer, and some gradients are small sums of large
// numbers.
template <typename T>
constexpr double kOutputTolerance = std::is_same<T, float>::value ? 1e-5 : 2e-2;
template <typename T>
constexpr double kGradientTolerance = std::is_same<T, float>::value ? 1e-5 : 6e-2;

template <typename T>
class EncoderLayerTest : public ::testing::Test {
 protected:
  using Layer = EncoderLayer<Cpu, T>;

  struct Problem {
    explicit Problem(const LayerOptions& options,
                     const Ragged& sentences = Ragged({3, 1, 0, 4}, {3, 1, 0, 2}).WithTail(2))
        : options(options),
          sentences(sentences),
          weights(LayerWeights::Random(options, 10)),
          x(Random<T>(sentences.rows() * options.hidden_size, 1)),
          dy(Random<T>(sentences.rows() * options.hidden_size, 2)) {}

    const LayerOptions options;
    const Ragged sentences;
    const LayerWeights weights;
    const std::vector<T> x, dy;
  };

  struct Result {
    std::vector<T> y, dx;
    LayerWeights gradient;
  };

  static Result Run(const Problem& p, int threads = 2) {
    const TestCpu cpu(threads);
    const auto weights = p.weights.pointers();
    const Layer layer(cpu, p.options, p.sentences.view(), weights.data());
    HeapArena arena;
    auto* const reserve = arena.Allocate<unsigned char>(layer.ReserveBytes());
    Result result{Unwritten<T>(p.x.size()), Unwritten<T>(p.x.size()),
                  LayerWeights::Unwritten(p.options)};
    layer.Forward(p.x.data(), reserve, result.y.data());
    layer.Backward(p.x.data(), reserve, p.dy.data(), result.dx.data(),
                   result.gradient.mutable_pointers().data());
    return result;
  }

  // Compares the output with double precision, and all gradients with its differences.
  static void Check(const Problem& p) {
    const Result result = Run(p);
    const test::ReferenceLayer layer(p.options);
    Numbers x = Convert<double>(p.x);
    auto weights = p.weights.Widened();
    const auto forward = [&] {
      return layer.Ffn(layer.SelfAttention(x, p.sentences.view(), &weights[0]), &weights[6]);
    };
    const Numbers dy = Convert<double>(p.dy);
    const auto loss = [&] {
      const Numbers y = forward();
      return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
    };
    EXPECT_TRUE(Close(result.y, forward(), kOutputTolerance<T>));
    EXPECT_TRUE(Close(result.dx, NumericGradient(loss, &x), kGradientTolerance<T>));
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_TRUE(Close(result.gradient.tensors()[i], NumericGradient(loss, &weights[i]),
                        kGradientTolerance<T>))
          << "of weight " << i;
    }
  }
};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(EncoderLayerTest, Types);

TYPED_TEST(EncoderLayerTest, AgreesWithDoublePrecisionAndItsDifferences) {
  for (const bool pre_norm : {true, false}) {
    for (const bool dropout : {false, true}) {
      SCOPED_TRACE(std::string(pre_norm ? "pre-norm" : "post-norm") + (dropout ? ", dropout" : ""));
      LayerOptions options = dropout ? WithDropout(TinyEncoderOptions()) : TinyEncoderOptions();
      options.pre_norm = pre_norm;
      TestFixture::Check(typename TestFixture::Problem(options));
    }
  }
}

TYPED_TEST(EncoderLayerTest, LooksBackOnlyWhenCausal) {
  LayerOptions options = WithDropout(TinyEncoderOptions());
  options.causal = true;
  TestFixture::Check(typename TestFixture::Problem(options));
}

TYPED_TEST(EncoderLayerTest, TakesTheOtherActivations) {
  for (const Activation kind : {Activation::kRelu, Activation::kTanh, Activation::kGeluErf}) {
    LayerOptions options = TinyEncoderOptions();
    options.activation = kind;
    TestFixture::Check(typename TestFixture::Problem(options));
  }
}

TYPED_TEST(EncoderLayerTest, TakesOneHeadAndHeadsOfOneNumber) {
  for (const int64_t heads : {1, 6}) {
    LayerOptions options = TinyEncoderOptions();
    options.num_heads = heads;
    TestFixture::Check(typename TestFixture::Problem(options));
  }
}

TYPED_TEST(EncoderLayerTest, TakesNoRows) {
  const typename TestFixture::Problem problem(TinyEncoderOptions(), Ragged({0, 0}));
  const auto result = TestFixture::Run(problem);
  for (const auto& tensor : result.gradient.tensors()) {
    EXPECT_TRUE(Close(tensor, std::vector<float>(tensor.size(), 0.0f), 0.0));
  }
}

TYPED_TEST(EncoderLayerTest, DropsOtherNumbersUnderAnotherSeed) {
  LayerOptions options = WithDropout(TinyEncoderOptions());
  const typename TestFixture::Problem first(options);
  ++options.seed;
  const typename TestFixture::Problem second(options);
  EXPECT_TRUE(Identical(TestFixture::Run(first).y, TestFixture::Run(first).y));
  EXPECT_FALSE(Close(TestFixture::Run(first).y, TestFixture::Run(second).y, 0.05));
}

TYPED_TEST(EncoderLayerTest, DoesNotDependOnTheNumberOfThreads) {
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = WithDropout(TinyEncoderOptions());
    options.hidden_size = 48;
    options.filter_size = 300;
    options.pre_norm = pre_norm;
    const typename TestFixture::Problem problem(options, Ragged({50, 3, 70, 1, 20}).WithTail(3));
    const auto one = TestFixture::Run(problem, 1);
    const auto three = TestFixture::Run(problem, 3);
    EXPECT_TRUE(Identical(one.y, three.y));
    EXPECT_TRUE(Identical(one.dx, three.dx));
    for (size_t i = 0; i < one.gradient.tensors().size(); ++i) {
      EXPECT_TRUE(Identical(one.gradient.tensors()[i], three.gradient.tensors()[i]));
    }
  }
}

TYPED_TEST(EncoderLayerTest, FillsItsReserveAndNoMore) {
  constexpr int64_t kGuard = 256;
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = WithDropout(TinyEncoderOptions());
    options.pre_norm = pre_norm;
    const typename TestFixture::Problem problem(options);
    const TestCpu cpu;
    const auto weights = problem.weights.pointers();
    const typename TestFixture::Layer layer(cpu, options, problem.sentences.view(), weights.data());
    const int64_t bytes = layer.ReserveBytes();
    EXPECT_EQ(bytes % kAlignment, 0);
    HeapArena arena;
    auto* const reserve = arena.Allocate<unsigned char>(bytes + kGuard);
    std::fill(reserve, reserve + bytes + kGuard, 0xa5);
    std::vector<TypeParam> y(problem.x.size()), dx(problem.x.size());
    layer.Forward(problem.x.data(), reserve, y.data());
    EXPECT_EQ(std::count(reserve + bytes, reserve + bytes + kGuard, 0xa5), kGuard);

    const std::vector<unsigned char> filled(reserve, reserve + bytes);
    auto gradient = LayerWeights::Unwritten(options);
    layer.Backward(problem.x.data(), reserve, problem.dy.data(), dx.data(),
                   gradient.mutable_pointers().data());
    EXPECT_TRUE(std::equal(filled.begin(), filled.end(), reserve)) << "backward only reads it";
  }
}

}  // namespace
}  // namespace tf_ls
