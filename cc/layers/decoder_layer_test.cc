#include "cc/layers/decoder_layer.h"

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
using test::TinyDecoderOptions;
using test::Unwritten;
using test::WithDropout;

// Bfloat16 rounds between all steps of the layer, and some gradients are small sums of large
// numbers.
template <typename T>
constexpr double kOutputTolerance = std::is_same<T, float>::value ? 1e-5 : 2e-2;
template <typename T>
constexpr double kGradientTolerance = std::is_same<T, float>::value ? 1e-5 : 6e-2;

template <typename T>
class DecoderLayerTest : public ::testing::Test {
 protected:
  using Layer = DecoderLayer<Cpu, T>;

  struct Problem {
    explicit Problem(
        const LayerOptions& options,
        const Ragged& sentences = Ragged({3, 1, 0, 4}, {3, 1, 0, 2}).WithTail(2),
        const Ragged& memory_sentences = Ragged({2, 3, 1, 5}, {2, 2, 1, 4}).WithTail(1))
        : options(options),
          sentences(sentences),
          memory_sentences(memory_sentences),
          weights(LayerWeights::Random(options, 10)),
          x(Random<T>(sentences.rows() * options.hidden_size, 1)),
          data(Random<T>(memory_sentences.rows() * options.memory_size, 2)),
          dy(Random<T>(sentences.rows() * options.hidden_size, 3)) {}

    Memory<T> memory() const { return {data.data(), memory_sentences.view(), lag}; }

    const LayerOptions options;
    const Ragged sentences;
    const Ragged memory_sentences;
    const LayerWeights weights;
    const std::vector<T> x, data, dy;
    int64_t lag = kNoLag;
  };

  struct Result {
    std::vector<T> y, dx, dmemory;
    LayerWeights gradient;
  };

  static Result Run(const Problem& p, int threads = 2) {
    const TestCpu cpu(threads);
    const auto weights = p.weights.pointers();
    const Layer layer(cpu, p.options, p.sentences.view(), p.memory(), weights.data());
    HeapArena arena;
    auto* const reserve = arena.Allocate<unsigned char>(layer.ReserveBytes());
    Result result{Unwritten<T>(p.x.size()), Unwritten<T>(p.x.size()), Unwritten<T>(p.data.size()),
                  LayerWeights::Unwritten(p.options)};
    layer.Forward(p.x.data(), reserve, result.y.data());
    layer.Backward(p.x.data(), reserve, p.dy.data(), result.dx.data(), result.dmemory.data(),
                   result.gradient.mutable_pointers().data());
    return result;
  }

  // Compares the output with double precision, and all gradients with its differences.
  static void Check(const Problem& p) {
    const Result result = Run(p);
    const test::ReferenceLayer layer(p.options);
    Numbers x = Convert<double>(p.x);
    Numbers data = Convert<double>(p.data);
    auto weights = p.weights.Widened();
    const auto forward = [&] {
      const Sentences sentences = p.sentences.view();
      const Numbers after_self = layer.SelfAttention(x, sentences, &weights[0]);
      const Numbers after_cross = layer.CrossAttention(
          after_self, sentences, data, p.memory_sentences.view(), p.lag, &weights[6]);
      return layer.Ffn(after_cross, &weights[14]);
    };
    const Numbers dy = Convert<double>(p.dy);
    const auto loss = [&] {
      const Numbers y = forward();
      return std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
    };
    EXPECT_TRUE(Close(result.y, forward(), kOutputTolerance<T>));
    EXPECT_TRUE(Close(result.dx, NumericGradient(loss, &x), kGradientTolerance<T>));
    EXPECT_TRUE(Close(result.dmemory, NumericGradient(loss, &data), kGradientTolerance<T>));
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_TRUE(Close(result.gradient.tensors()[i], NumericGradient(loss, &weights[i]),
                        kGradientTolerance<T>))
          << "of weight " << i;
    }
  }
};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(DecoderLayerTest, Types);

TYPED_TEST(DecoderLayerTest, AgreesWithDoublePrecisionAndItsDifferences) {
  for (const bool pre_norm : {true, false}) {
    for (const bool dropout : {false, true}) {
      SCOPED_TRACE(std::string(pre_norm ? "pre-norm" : "post-norm") + (dropout ? ", dropout" : ""));
      LayerOptions options = dropout ? WithDropout(TinyDecoderOptions()) : TinyDecoderOptions();
      options.pre_norm = pre_norm;
      TestFixture::Check(typename TestFixture::Problem(options));
    }
  }
}

TYPED_TEST(DecoderLayerTest, WaitsForTheLag) {
  for (const int64_t lag : {0, 2}) {
    typename TestFixture::Problem problem(TinyDecoderOptions());
    problem.lag = lag;
    TestFixture::Check(problem);
  }
}

TYPED_TEST(DecoderLayerTest, TakesEmptyMemories) {
  TestFixture::Check(
      typename TestFixture::Problem(TinyDecoderOptions(), Ragged({2, 1}), Ragged({0, 3}, {0, 2})));
}

TYPED_TEST(DecoderLayerTest, TakesNoRows) {
  const typename TestFixture::Problem problem(TinyDecoderOptions(), Ragged({0, 0}), Ragged({0, 3}));
  const auto result = TestFixture::Run(problem);
  for (const auto& tensor : result.gradient.tensors()) {
    EXPECT_TRUE(Close(tensor, std::vector<float>(tensor.size(), 0.0f), 0.0));
  }
  EXPECT_TRUE(Identical(result.dmemory, std::vector<TypeParam>(problem.data.size())));
}

TYPED_TEST(DecoderLayerTest, DoesNotDependOnTheNumberOfThreads) {
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = WithDropout(TinyDecoderOptions());
    options.hidden_size = 48;
    options.filter_size = 300;
    options.memory_size = 33;
    options.pre_norm = pre_norm;
    const typename TestFixture::Problem problem(options, Ragged({50, 3, 70, 1, 20}).WithTail(3),
                                                Ragged({20, 30, 60, 9, 100}).WithTail(5));
    const auto one = TestFixture::Run(problem, 1);
    const auto three = TestFixture::Run(problem, 3);
    EXPECT_TRUE(Identical(one.y, three.y));
    EXPECT_TRUE(Identical(one.dx, three.dx));
    EXPECT_TRUE(Identical(one.dmemory, three.dmemory));
    for (size_t i = 0; i < one.gradient.tensors().size(); ++i) {
      EXPECT_TRUE(Identical(one.gradient.tensors()[i], three.gradient.tensors()[i]));
    }
  }
}

TYPED_TEST(DecoderLayerTest, FillsItsReserveAndNoMore) {
  constexpr int64_t kGuard = 256;
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = WithDropout(TinyDecoderOptions());
    options.pre_norm = pre_norm;
    const typename TestFixture::Problem problem(options);
    const TestCpu cpu;
    const auto weights = problem.weights.pointers();
    const typename TestFixture::Layer layer(cpu, options, problem.sentences.view(),
                                            problem.memory(), weights.data());
    const int64_t bytes = layer.ReserveBytes();
    EXPECT_EQ(bytes % kAlignment, 0);
    HeapArena arena;
    auto* const reserve = arena.Allocate<unsigned char>(bytes + kGuard);
    std::fill(reserve, reserve + bytes + kGuard, 0xa5);
    std::vector<TypeParam> y(problem.x.size()), dx(problem.x.size()), dmemory(problem.data.size());
    layer.Forward(problem.x.data(), reserve, y.data());
    EXPECT_EQ(std::count(reserve + bytes, reserve + bytes + kGuard, 0xa5), kGuard);

    const std::vector<unsigned char> filled(reserve, reserve + bytes);
    auto gradient = LayerWeights::Unwritten(options);
    layer.Backward(problem.x.data(), reserve, problem.dy.data(), dx.data(), dmemory.data(),
                   gradient.mutable_pointers().data());
    EXPECT_TRUE(std::equal(filled.begin(), filled.end(), reserve)) << "backward only reads it";
  }
}

}  // namespace
}  // namespace tf_ls
