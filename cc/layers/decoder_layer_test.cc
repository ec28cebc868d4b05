#include "cc/layers/decoder_layer.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/device_ragged.h"
#include "cc/testing/device_weights.h"
#include "cc/testing/devices.h"
#include "cc/testing/layer_tolerances.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/ragged.h"
#include "cc/testing/reference_layer.h"
#include "cc/testing/tiny_options.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::DeviceRagged;
using test::DeviceWeights;
using test::Identical;
using test::kGradientTolerance;
using test::kOutputTolerance;
using test::LayerWeights;
using test::Numbers;
using test::NumericGradient;
using test::Ragged;
using test::Random;
using test::Testing;
using test::TinyDecoderOptions;
using test::Unwritten;
using test::WithDropout;

constexpr unsigned char kUntouched = 0xa5;

template <typename DeviceAndType>
class DecoderLayerTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  using Layer = DecoderLayer<Device, T>;
  template <typename U>
  using OnDevice = typename Testing<Device>::template Numbers<U>;
  using Bytes = OnDevice<unsigned char>;

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

    const LayerOptions options;
    const Ragged sentences;
    const Ragged memory_sentences;
    const LayerWeights weights;
    const std::vector<T> x, data, dy;
    int64_t lag = kNoLag;
  };

  struct Result {
    std::vector<T> y, dx, dmemory;
    std::vector<std::vector<float>> gradient;
    std::vector<unsigned char> reserve_after_forward, reserve_after_backward;
  };

  // With `guard` bytes behind the reserve that nobody is to write.
  static Result Run(const Problem& p, int threads = 2, int64_t guard = 0) {
    const typename Testing<Device>::Instance device(threads);
    const DeviceRagged<Device> sentences(p.sentences), memory_sentences(p.memory_sentences);
    const DeviceWeights<Device> weights(p.weights);
    DeviceWeights<Device> gradient(LayerWeights::Unwritten(p.options));
    const OnDevice<T> x(p.x), memory(p.data), dy(p.dy);
    const auto pointers = weights.pointers();
    const Layer layer(device, p.options, sentences.view(),
                      {memory.data(), memory_sentences.view(), p.lag}, pointers.data());
    EXPECT_EQ(layer.ReserveBytes() % kAlignment, 0);
    Bytes reserve(std::vector<unsigned char>(layer.ReserveBytes() + guard, kUntouched));
    OnDevice<T> y(Unwritten<T>(p.x.size())), dx(Unwritten<T>(p.x.size()));
    OnDevice<T> dmemory(Unwritten<T>(p.data.size()));
    Result result;
    layer.Forward(x.data(), reserve.data(), y.data());
    result.reserve_after_forward = reserve.host();
    layer.Backward(x.data(), reserve.data(), dy.data(), dx.data(), dmemory.data(),
                   gradient.mutable_pointers().data());
    result.reserve_after_backward = reserve.host();
    result.y = y.host();
    result.dx = dx.host();
    result.dmemory = dmemory.host();
    result.gradient = gradient.host();
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
      EXPECT_TRUE(
          Close(result.gradient[i], NumericGradient(loss, &weights[i]), kGradientTolerance<T>))
          << "of weight " << i;
    }
  }
};

TYPED_TEST_SUITE(DecoderLayerTest, test::DeviceTypes);

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
  for (const auto& tensor : result.gradient) {
    EXPECT_TRUE(Close(tensor, std::vector<float>(tensor.size(), 0.0f), 0.0));
  }
  EXPECT_TRUE(Identical(result.dmemory, std::vector<typename TestFixture::T>(problem.data.size())));
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
    for (size_t i = 0; i < one.gradient.size(); ++i) {
      EXPECT_TRUE(Identical(one.gradient[i], three.gradient[i]));
    }
  }
}

TYPED_TEST(DecoderLayerTest, FillsItsReserveAndNoMore) {
  constexpr int64_t kGuard = 256;
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = WithDropout(TinyDecoderOptions());
    options.pre_norm = pre_norm;
    const auto result =
        TestFixture::Run(typename TestFixture::Problem(options), /*threads=*/2, kGuard);
    const auto& reserve = result.reserve_after_forward;
    EXPECT_EQ(std::count(reserve.end() - kGuard, reserve.end(), kUntouched), kGuard);
    EXPECT_EQ(result.reserve_after_backward, reserve) << "backward only reads it";
  }
}

}  // namespace
}  // namespace tf_ls
