#include "cc/layers/decoder_step.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/layers/decoder_layer.h"
#include "cc/layers/encoder_layer.h"
#include "cc/testing/closeness.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/ragged.h"
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
using test::Ragged;
using test::Random;
using test::TestCpu;
using test::TinyDecoderOptions;
using test::Unwritten;
using test::Value;

constexpr int64_t kBatch = 3;
constexpr int64_t kLength = 6;
constexpr int64_t kMemoryLength = 4;

// rows[batch, length, n] from `first`, `count` of each sentence.
template <typename T>
std::vector<T> Slice(const std::vector<T>& rows, int64_t n, int64_t first, int64_t count) {
  const int64_t length = rows.size() / kBatch / n;
  std::vector<T> slice;
  for (int64_t i = 0; i < kBatch; ++i) {
    const auto start = rows.begin() + (i * length + first) * n;
    slice.insert(slice.end(), start, start + count * n);
  }
  return slice;
}

template <typename T>
class DecoderStepTest : public ::testing::Test {
 protected:
  // Matrix products of one row and of many may add in another order.
  static constexpr double kTolerance = std::is_same<T, float>::value ? 1e-5 : 2e-2;
  // Some gradients are small sums of large numbers.
  static constexpr double kGradientTolerance = std::is_same<T, float>::value ? 1e-5 : 6e-2;

  DecoderStepTest() : memory_lengths_{4, 1, 3} {}

  // The whole layer on all positions at once.
  std::vector<T> RunLayer(const LayerOptions& options, const LayerWeights& weights,
                          const std::vector<T>& x, const std::vector<T>& memory, int64_t lag) {
    const Ragged sentences(std::vector<int32_t>(kBatch, kLength));
    const Ragged memory_sentences(std::vector<int32_t>(kBatch, kMemoryLength), memory_lengths_);
    const auto pointers = weights.pointers();
    auto y = Unwritten<T>(x.size());
    HeapArena arena;
    const auto run = [&](const auto& layer) {
      layer.Forward(x.data(), arena.Allocate<unsigned char>(layer.ReserveBytes()), y.data());
    };
    if (options.memory_size > 0) {
      run(DecoderLayer<Cpu, T>(cpu_, options, sentences.view(),
                               {memory.data(), memory_sentences.view(), lag}, pointers.data()));
    } else {
      run(EncoderLayer<Cpu, T>(cpu_, options, sentences.view(), pointers.data()));
    }
    return y;
  }

  // Compares steps of the given numbers of positions with the whole layer.
  void Check(const LayerOptions& options, const std::vector<int64_t>& steps, int64_t lag = kNoLag) {
    const int64_t n = options.hidden_size;
    const LayerWeights weights = LayerWeights::Random(options, 10);
    const auto pointers = weights.pointers();
    const auto x = Random<T>(kBatch * kLength * n, 1);
    const auto memory = Random<T>(kBatch * kMemoryLength * options.memory_size, 2);
    const auto expected = RunLayer(options, weights, x, memory, lag);

    std::vector<T> memory_keys, memory_values;
    if (options.memory_size > 0)
      ProjectMemory(options, weights, memory, &memory_keys, &memory_values);
    std::vector<T> keys, values;
    int64_t position = 0;
    for (const int64_t added : steps) {
      SCOPED_TRACE(std::to_string(added) + " positions behind " + std::to_string(position));
      auto new_keys = Unwritten<T>(kBatch * (position + added) * n);
      auto new_values = new_keys;
      auto y = Unwritten<T>(kBatch * added * n);
      const auto projected = Projected(memory_keys, memory_values, lag, position);
      const DecoderStep<Cpu, T> step(cpu_, options, kBatch, position, added,
                                     options.memory_size > 0 ? &projected : nullptr,
                                     pointers.data());
      const auto in = Slice(x, n, position, added);
      step.Forward(in.data(), {keys.data(), values.data()}, {new_keys.data(), new_values.data()},
                   y.data());
      EXPECT_TRUE(Close(y, Slice(expected, n, position, added), kTolerance));
      EXPECT_TRUE(Identical(Slice(new_keys, n, 0, position), keys)) << "keeps the keys before";
      EXPECT_TRUE(Identical(Slice(new_values, n, 0, position), values));
      keys = new_keys;
      values = new_values;
      position += added;
    }
  }

  // Sums the gradients of steps of the given numbers of positions, from the last to the first, and
  // compares them with the whole layer's.
  void CheckGradient(const LayerOptions& options, const std::vector<int64_t>& steps,
                     int64_t lag = kNoLag) {
    const int64_t n = options.hidden_size;
    const LayerWeights weights = LayerWeights::Random(options, 10);
    const auto pointers = weights.pointers();
    const auto x = Random<T>(kBatch * kLength * n, 1);
    const auto memory = Random<T>(kBatch * kMemoryLength * options.memory_size, 2);
    const auto dy = Random<T>(x.size(), 3);
    const bool has_memory = options.memory_size > 0;
    std::vector<T> memory_keys, memory_values;
    if (has_memory) ProjectMemory(options, weights, memory, &memory_keys, &memory_values);

    // Forward, keeping every cache.
    std::vector<std::vector<T>> keys(1), values(1);
    std::vector<int64_t> positions = {0};
    const auto make_step = [&](size_t i, const auto& run) {
      const auto projected = Projected(memory_keys, memory_values, lag, positions[i]);
      run(DecoderStep<Cpu, T>(cpu_, options, kBatch, positions[i], steps[i],
                              has_memory ? &projected : nullptr, pointers.data()));
    };
    for (size_t i = 0; i < steps.size(); ++i) {
      positions.push_back(positions[i] + steps[i]);
      keys.push_back(Unwritten<T>(kBatch * positions[i + 1] * n));
      values.push_back(keys.back());
      auto y = Unwritten<T>(kBatch * steps[i] * n);
      make_step(i, [&](const auto& step) {
        step.Forward(Slice(x, n, positions[i], steps[i]).data(), {keys[i].data(), values[i].data()},
                     {keys[i + 1].data(), values[i + 1].data()}, y.data());
      });
    }

    // Backward. Nobody uses the last caches.
    std::vector<T> dkeys(x.size()), dvalues(x.size());
    std::vector<double> dmemory_keys(memory_keys.size()), dmemory_values(memory_keys.size());
    auto gradient = LayerWeights::Random(options, 0).Widened();
    for (auto& tensor : gradient) std::fill(tensor.begin(), tensor.end(), 0.0);
    const auto expected = RunLayerGradient(options, weights, x, memory, lag, dy);
    for (size_t i = steps.size(); i-- > 0;) {
      auto dcache_keys = Unwritten<T>(kBatch * positions[i] * n);
      auto dcache_values = dcache_keys;
      auto dx = Unwritten<T>(kBatch * steps[i] * n);
      auto step_dmemory_keys = Unwritten<T>(memory_keys.size());
      auto step_dmemory_values = step_dmemory_keys;
      auto step_gradient = LayerWeights::Unwritten(options);
      make_step(i, [&](const auto& step) {
        step.Backward(Slice(x, n, positions[i], steps[i]).data(),
                      {keys[i].data(), values[i].data()},
                      Slice(dy, n, positions[i], steps[i]).data(), {dkeys.data(), dvalues.data()},
                      dx.data(), {dcache_keys.data(), dcache_values.data()},
                      {step_dmemory_keys.data(), step_dmemory_values.data()},
                      step_gradient.mutable_pointers().data());
      });
      EXPECT_TRUE(Close(dx, Slice(expected.dx, n, positions[i], steps[i]), kGradientTolerance))
          << "of x, from position " << positions[i];
      Sum(step_dmemory_keys, &dmemory_keys);
      Sum(step_dmemory_values, &dmemory_values);
      for (size_t j = 0; j < gradient.size(); ++j) Sum(step_gradient.tensors()[j], &gradient[j]);
      dkeys = dcache_keys;
      dvalues = dcache_values;
    }
    if (has_memory) {
      // The projection, which is outside of the steps.
      std::vector<T> dkv;
      for (int64_t i = 0; i < kBatch * kMemoryLength; ++i) {
        for (const auto* part : {&dmemory_keys, &dmemory_values}) {
          const std::vector<double> row(part->begin() + i * n, part->begin() + (i + 1) * n);
          for (const T value : Convert<T>(row)) dkv.push_back(value);
        }
      }
      auto dmemory = Unwritten<T>(memory.size());
      auto kernel = Unwritten<float>(options.memory_size * 2 * n);
      auto bias = Unwritten<float>(2 * n);
      const auto cross = CrossAttentionWeights<const float*>::From(pointers.data() + 6);
      DenseGradient<Cpu, T>(cpu_, cross.kv, options.memory_size, 2 * n, memory.data(), dkv.data(),
                            kBatch * kMemoryLength, dmemory.data(), {kernel.data(), bias.data()});
      EXPECT_TRUE(Close(dmemory, expected.dmemory, kGradientTolerance)) << "of the memory";
      Sum(kernel, &gradient[10]);
      Sum(bias, &gradient[11]);
    }
    for (size_t j = 0; j < gradient.size(); ++j) {
      EXPECT_TRUE(Close(gradient[j], expected.gradient.tensors()[j], kGradientTolerance))
          << "of weight " << j;
    }
  }

  struct Gradients {
    std::vector<T> dx, dmemory;
    LayerWeights gradient;
  };

  Gradients RunLayerGradient(const LayerOptions& options, const LayerWeights& weights,
                             const std::vector<T>& x, const std::vector<T>& memory, int64_t lag,
                             const std::vector<T>& dy) {
    const Ragged sentences(std::vector<int32_t>(kBatch, kLength));
    const Ragged memory_sentences(std::vector<int32_t>(kBatch, kMemoryLength), memory_lengths_);
    const auto pointers = weights.pointers();
    Gradients result{Unwritten<T>(x.size()), Unwritten<T>(memory.size()),
                     LayerWeights::Unwritten(options)};
    HeapArena arena;
    auto y = Unwritten<T>(x.size());
    const auto run = [&](const auto& layer, auto... dmemory) {
      auto* const reserve = arena.Allocate<unsigned char>(layer.ReserveBytes());
      layer.Forward(x.data(), reserve, y.data());
      layer.Backward(x.data(), reserve, dy.data(), result.dx.data(), dmemory...,
                     result.gradient.mutable_pointers().data());
    };
    if (options.memory_size > 0) {
      run(DecoderLayer<Cpu, T>(cpu_, options, sentences.view(),
                               {memory.data(), memory_sentences.view(), lag}, pointers.data()),
          result.dmemory.data());
    } else {
      run(EncoderLayer<Cpu, T>(cpu_, options, sentences.view(), pointers.data()));
    }
    return result;
  }

  ProjectedMemory<T> Projected(const std::vector<T>& keys, const std::vector<T>& values,
                               int64_t lag, int64_t position) const {
    return {{keys.data(), values.data()},
            kMemoryLength,
            memory_lengths_.data(),
            lag == kNoLag ? kNoLag : lag + position};
  }

  template <typename U>
  static void Sum(const std::vector<U>& from, std::vector<double>* to) {
    for (size_t i = 0; i < from.size(); ++i) (*to)[i] += Value(from[i]);
  }

  void ProjectMemory(const LayerOptions& options, const LayerWeights& weights,
                     const std::vector<T>& memory, std::vector<T>* keys, std::vector<T>* values) {
    const int64_t n = options.hidden_size;
    const int64_t rows = kBatch * kMemoryLength;
    const auto pointers = weights.pointers();
    const auto cross = CrossAttentionWeights<const float*>::From(pointers.data() + 6);
    std::vector<T> kv(rows * 2 * n);
    Dense<Cpu, T>(cpu_, cross.kv, options.memory_size, 2 * n, memory.data(), rows, kv.data());
    for (int64_t i = 0; i < rows; ++i) {
      const auto row = kv.begin() + i * 2 * n;
      keys->insert(keys->end(), row, row + n);
      values->insert(values->end(), row + n, row + 2 * n);
    }
  }

  const TestCpu cpu_;
  const std::vector<int32_t> memory_lengths_;
};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(DecoderStepTest, Types);

const std::vector<int64_t> kOneByOne(kLength, 1);

TYPED_TEST(DecoderStepTest, AgreesWithTheLayerPositionByPosition) {
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = TinyDecoderOptions();
    options.pre_norm = pre_norm;
    this->Check(options, kOneByOne);
  }
}

TYPED_TEST(DecoderStepTest, TakesSeveralPositionsAtOnce) {
  this->Check(TinyDecoderOptions(), {2, 1, 3});
  this->Check(TinyDecoderOptions(), {kLength});
}

TYPED_TEST(DecoderStepTest, NeedsNoMemory) {
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = TinyDecoderOptions(/*memory_size=*/0);
    options.pre_norm = pre_norm;
    this->Check(options, kOneByOne);
    this->Check(options, {2, 4});
  }
}

TYPED_TEST(DecoderStepTest, WaitsForTheLag) {
  for (const int64_t lag : {1, 2}) this->Check(TinyDecoderOptions(), kOneByOne, lag);
  this->Check(TinyDecoderOptions(), {3, 3}, 1);
}

TYPED_TEST(DecoderStepTest, GradientGoesThroughTheCaches) {
  for (const bool pre_norm : {true, false}) {
    LayerOptions options = TinyDecoderOptions();
    options.pre_norm = pre_norm;
    this->CheckGradient(options, kOneByOne);
    this->CheckGradient(options, {2, 1, 3});
  }
  this->CheckGradient(TinyDecoderOptions(/*memory_size=*/0), {2, 4});
  this->CheckGradient(TinyDecoderOptions(), {1, 2, 3}, /*lag=*/1);
}

}  // namespace
}  // namespace tf_ls
