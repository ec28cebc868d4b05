#include "cc/layers/encoder_layer.h"

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
using test::TinyEncoderOptions;
using test::Unwritten;
using test::WithDropout;

constexpr unsigned char kUntouched = 0xa5;

template <typename DeviceAndType>
class EncoderLayerTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  using Layer = EncoderLayer<Device, T>;
  template <typename U>
  using OnDevice = typename Testing<Device>::template Numbers<U>;
  using Bytes = OnDevice<unsigned char>;

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
    std::vector<std::vector<float>> gradient;
    std::vector<unsigned char> reserve_after_forward, reserve_after_backward;
  };

  // With `guard` bytes behind the reserve that nobody is to write.
  static Result Run(const Problem& p, int threads = 2, int64_t guard = 0) {
    const typename Testing<Device>::Instance device(threads);
    const DeviceRagged<Device> sentences(p.sentences);
    const DeviceWeights<Device> weights(p.weights);
    DeviceWeights<Device> gradient(LayerWeights::Unwritten(p.options));
    const auto pointers = weights.pointers();
    const Layer layer(device, p.options, sentences.view(), pointers.data());
    EXPECT_EQ(layer.ReserveBytes() % kAlignment, 0);
    Bytes reserve(std::vector<unsigned char>(layer.ReserveBytes() + guard, kUntouched));
    const OnDevice<T> x(p.x), dy(p.dy);
    OnDevice<T> y(Unwritten<T>(p.x.size())), dx(Unwritten<T>(p.x.size()));
    Result result;
    layer.Forward(x.data(), reserve.data(), y.data());
    result.reserve_after_forward = reserve.host();
    layer.Backward(x.data(), reserve.data(), dy.data(), dx.data(),
                   gradient.mutable_pointers().data());
    result.reserve_after_backward = reserve.host();
    result.y = y.host();
    result.dx = dx.host();
    result.gradient = gradient.host();
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
      EXPECT_TRUE(
          Close(result.gradient[i], NumericGradient(loss, &weights[i]), kGradientTolerance<T>))
          << "of weight " << i;
    }
  }
};

TYPED_TEST_SUITE(EncoderLayerTest, test::DeviceTypes);

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
  for (const Activation kind :
       {Activation::kRelu, Activation::kTanh, Activation::kGeluErf, Activation::kSilu}) {
    for (LayerOptions options : {TinyEncoderOptions(), WithDropout(TinyEncoderOptions())}) {
      options.activation = kind;
      TestFixture::Check(typename TestFixture::Problem(options));
    }
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
  for (const auto& tensor : result.gradient) {
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
    for (size_t i = 0; i < one.gradient.size(); ++i) {
      EXPECT_TRUE(Identical(one.gradient[i], three.gradient[i]));
    }
  }
}

TYPED_TEST(EncoderLayerTest, FillsItsReserveAndNoMore) {
  constexpr int64_t kGuard = 256;
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = WithDropout(TinyEncoderOptions());
    options.pre_norm = pre_norm;
    options.activation = pre_norm ? Activation::kGelu : Activation::kRelu;
    const auto result =
        TestFixture::Run(typename TestFixture::Problem(options), /*threads=*/2, kGuard);
    const auto& reserve = result.reserve_after_forward;
    EXPECT_EQ(std::count(reserve.end() - kGuard, reserve.end(), kUntouched), kGuard);
    EXPECT_EQ(result.reserve_after_backward, reserve) << "backward only reads it";
  }
}

}  // namespace
}  // namespace tf_ls
