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
using test::Identical;
using test::LayerWeights;
using test::Ragged;
using test::Random;
using test::TestCpu;
using test::TinyDecoderOptions;
using test::Unwritten;

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
      const ProjectedMemory<T> projected = {memory_keys.data(), memory_values.data(), kMemoryLength,
                                            memory_lengths_.data(),
                                            lag == kNoLag ? kNoLag : lag + position};
      const DecoderStep<Cpu, T> step(cpu_, options, kBatch, added, pointers.data());
      const auto in = Slice(x, n, position, added);
      step.Run(in.data(),
               {keys.data(), values.data(), position, new_keys.data(), new_values.data()},
               options.memory_size > 0 ? &projected : nullptr, y.data());
      EXPECT_TRUE(Close(y, Slice(expected, n, position, added), kTolerance));
      EXPECT_TRUE(Identical(Slice(new_keys, n, 0, position), keys)) << "keeps the keys before";
      EXPECT_TRUE(Identical(Slice(new_values, n, 0, position), values));
      keys = new_keys;
      values = new_values;
      position += added;
    }
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

}  // namespace
}  // namespace tf_ls
