#include "cc/decoding/generation_layer.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cc/layers/decoder_layer.h"
#include "cc/layers/encoder_layer.h"
#include "cc/testing/closeness.h"
#include "cc/testing/device_ragged.h"
#include "cc/testing/device_weights.h"
#include "cc/testing/devices.h"
#include "cc/testing/layer_tolerances.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/ragged.h"
#include "cc/testing/tiny_options.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::DeviceRagged;
using test::DeviceWeights;
using test::kOutputTolerance;
using test::LayerWeights;
using test::Ragged;
using test::Random;
using test::Testing;
using test::TinyDecoderOptions;
using test::Unwritten;

using Ints = std::vector<int32_t>;

constexpr int64_t kSentences = 2, kBeams = 3, kRows = kSentences * kBeams, kSteps = 7;
constexpr int64_t kMemoryLength = 4;
const Ints kMemoryLengths = {4, 3};

template <typename DeviceAndType>
class GenerationLayerTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using OnDevice = typename Testing<Device>::template Numbers<U>;
  using GrowingCache = typename GenerationLayer<Device, T>::GrowingCache;
  using MemoryCache = typename GenerationLayer<Device, T>::MemoryCache;

  // Steps of beams that change their places must give what the whole layer gives for the history of
  // each. The first `begun` positions of a sentence, which its beams share, are read at once.
  void Check(const LayerOptions& options, int64_t begun = 0) {
    const int64_t n = options.hidden_size, heads = options.num_heads, size = options.head_size();
    const LayerWeights host_weights = LayerWeights::Random(options, 10);
    const DeviceWeights<Device> weights(host_weights);
    const auto pointers = weights.pointers();
    const GenerationLayer<Device, T> layer(device_, options, pointers.data());

    const auto memory = Random<T>(kSentences * kMemoryLength * options.memory_size, 2);
    OnDevice<T> kv(Unwritten<T>(kSentences * kMemoryLength * 2 * n));
    if (options.memory_size > 0) {
      const OnDevice<T> source(memory);
      layer.ProjectMemory(source.data(), kSentences * kMemoryLength, kv.data());
    }
    const T* const projected = kv.data();
    Ints sentence_of;
    for (int64_t i = 0; i < kRows; ++i) sentence_of.push_back(i / kBeams);
    const OnDevice<int32_t> sentences(sentence_of), memory_lengths(kMemoryLengths);

    const MemoryCache memory_cache = {MemorySlots(projected, kMemoryLength, 2 * n, size),
                                      MemorySlots(projected + n, kMemoryLength, 2 * n, size)};

    OnDevice<T> keys(Unwritten<T>(kRows * kSteps * n)), values(keys);
    const GrowingCache cache = {GrowingSlots(keys.data(), heads, kSteps, size),
                                GrowingSlots(values.data(), heads, kSteps, size)};
    const auto slot_of = [](int64_t row) { return static_cast<int32_t>(row / kBeams * kBeams); };
    Ints first_slots(kRows * kSteps, -1);
    for (int64_t i = 0; i < kRows; ++i) {
      std::fill_n(first_slots.begin() + i * kSteps, begun, slot_of(i));
    }
    const OnDevice<int32_t> first(first_slots), first_lengths(Ints(kRows, begun));
    OnDevice<int32_t> slots[] = {first, first};
    OnDevice<int32_t> lengths[] = {first_lengths, first_lengths};
    std::vector<std::vector<T>> histories(kRows);
    if (begun > 0) {
      const int64_t count = kSentences * begun;
      const auto x = Random<T>(count * n, 19);
      Ints to_slots, to_positions, sentence_of_rows;
      for (int64_t i = 0; i < count; ++i) {
        to_slots.push_back(slot_of(i / begun * kBeams));
        to_positions.push_back(i % begun);
        sentence_of_rows.push_back(i / begun);
      }
      for (int64_t i = 0; i < kRows; ++i) {
        const auto begin = x.begin() + i / kBeams * begun * n;
        histories[i].assign(begin, begin + begun * n);
      }
      const OnDevice<int32_t> places(to_slots), positions(to_positions), of_rows(sentence_of_rows);
      const DeviceRagged<Device> beginnings(Ragged(Ints(kSentences, begun)));
      OnDevice<T> rows(x);
      layer.Forward(count, Beginnings{beginnings.view(), {count, places.data(), positions.data()}},
                    cache, {of_rows.data(), memory_lengths.data()}, memory_cache, rows.data());
      const std::vector<T> y = rows.host();
      std::vector<T> last;
      for (int64_t i = 0; i < kRows; ++i) {
        const auto end = y.begin() + (i / kBeams + 1) * begun * n;
        last.insert(last.end(), end - n, end);
      }
      EXPECT_TRUE(Close(last, LastRows(options, pointers, histories, memory), kOutputTolerance<T>));
    }
    std::mt19937 generator(1);
    for (int64_t step = begun; step < kSteps; ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      Ints parents, taken;
      for (int64_t i = 0; i < kRows; ++i) {
        parents.push_back(i / kBeams * kBeams + (step == begun ? 0 : generator() % kBeams));
        taken.push_back(i / kBeams * kBeams + (i + step) % kBeams);
      }
      const int now = step % 2, next = 1 - now;
      const OnDevice<int32_t> from(parents), to(taken);
      const Device& device = device_;
      ExtendPaths(device, {slots[now].data(), lengths[now].data(), kSteps}, from.data(), to.data(),
                  kRows, slots[next].data(), lengths[next].data());

      const auto x = Random<T>(kRows * n, 20 + step);
      std::vector<std::vector<T>> extended;
      for (int64_t i = 0; i < kRows; ++i) {
        extended.push_back(histories[parents[i]]);
        extended.back().insert(extended.back().end(), x.begin() + i * n, x.begin() + (i + 1) * n);
      }
      histories = std::move(extended);

      OnDevice<T> rows(x);
      OnDevice<float> mean_weights(Unwritten<float>(kRows * kMemoryLength));
      layer.Forward(kRows, BeamPaths{slots[next].data(), lengths[next].data(), kSteps}, cache,
                    {sentences.data(), memory_lengths.data()}, memory_cache, rows.data(),
                    {mean_weights.data(), kMemoryLength});
      if (options.memory_size > 0) CheckMeanWeights(mean_weights.host());
      EXPECT_TRUE(
          Close(rows.host(), LastRows(options, pointers, histories, memory), kOutputTolerance<T>));
    }
  }

 private:
  // They are a distribution over what a row sees of its memory.
  void CheckMeanWeights(const std::vector<float>& weights) {
    for (int64_t row = 0; row < kRows; ++row) {
      double sum = 0.0;
      for (int64_t i = 0; i < kMemoryLength; ++i) {
        const float weight = weights[row * kMemoryLength + i];
        EXPECT_EQ(weight > 0.0f, i < kMemoryLengths[row / kBeams]);
        sum += weight;
      }
      EXPECT_NEAR(sum, 1.0, 1e-5);
    }
  }

  // What the whole layer gives for the last position of each history.
  std::vector<T> LastRows(const LayerOptions& options, const std::vector<const float*>& weights,
                          const std::vector<std::vector<T>>& histories,
                          const std::vector<T>& memory) {
    const int64_t n = options.hidden_size, length = histories[0].size() / n;
    std::vector<T> all, memories;
    Ints memory_lengths;
    for (int64_t i = 0; i < kRows; ++i) {
      all.insert(all.end(), histories[i].begin(), histories[i].end());
      const int64_t sentence = i / kBeams, count = kMemoryLength * options.memory_size;
      memories.insert(memories.end(), memory.begin() + sentence * count,
                      memory.begin() + (sentence + 1) * count);
      memory_lengths.push_back(kMemoryLengths[sentence]);
    }
    const DeviceRagged<Device> rows(Ragged(Ints(kRows, length)));
    const DeviceRagged<Device> memory_rows(Ragged(Ints(kRows, kMemoryLength), memory_lengths));
    const OnDevice<T> x(all), source(memories);
    OnDevice<T> y(Unwritten<T>(all.size()));
    const auto run = [&](const auto& whole) {
      OnDevice<unsigned char> reserve(std::vector<unsigned char>(whole.ReserveBytes()));
      whole.Forward(x.data(), reserve.data(), y.data());
    };
    if (options.memory_size > 0) {
      run(DecoderLayer<Device, T>(device_, options, rows.view(),
                                  {source.data(), memory_rows.view(), kNoLag}, weights.data()));
    } else {
      run(EncoderLayer<Device, T>(device_, options, rows.view(), weights.data()));
    }
    const std::vector<T> result = y.host();
    std::vector<T> last;
    for (int64_t i = 0; i < kRows; ++i) {
      const auto end = result.begin() + (i + 1) * length * n;
      last.insert(last.end(), end - n, end);
    }
    return last;
  }

  const typename Testing<Device>::Instance device_;
};

TYPED_TEST_SUITE(GenerationLayerTest, test::DeviceTypes);

TYPED_TEST(GenerationLayerTest, ContinuesBeamsAsTheWholeLayerDoes) {
  this->Check(TinyDecoderOptions());
}

TYPED_TEST(GenerationLayerTest, NormalizesBehindTheResidual) {
  LayerOptions options = TinyDecoderOptions();
  options.pre_norm = false;
  this->Check(options);
}

TYPED_TEST(GenerationLayerTest, DoesWithoutCrossAttention) {
  this->Check(TinyDecoderOptions(/*memory_size=*/0));
}

TYPED_TEST(GenerationLayerTest, ReadsBeginningsAtOnce) {
  for (const int64_t memory_size : {5, 0}) {
    for (const bool pre_norm : {true, false}) {
      LayerOptions options = TinyDecoderOptions(memory_size);
      options.pre_norm = pre_norm;
      this->Check(options, /*begun=*/1);
      this->Check(options, /*begun=*/4);
    }
  }
}

}  // namespace
}  // namespace tf_ls
