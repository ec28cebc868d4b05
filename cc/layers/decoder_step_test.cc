#include "cc/layers/decoder_step.h"

#include <algorithm>
#include <string>
#include <type_traits>
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
using test::Convert;
using test::DeviceRagged;
using test::DeviceWeights;
using test::Identical;
using test::kGradientTolerance;
using test::kOutputTolerance;
using test::LayerWeights;
using test::Ragged;
using test::Random;
using test::Testing;
using test::TinyDecoderOptions;
using test::Unwritten;
using test::Value;

constexpr int64_t kBatch = 3;
constexpr int64_t kLength = 6;
constexpr int64_t kMemoryLength = 4;
const std::vector<int32_t> kMemoryLengths = {4, 1, 3};

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

template <typename DeviceAndType>
class DecoderStepTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  using Step = DecoderStep<Device, T>;
  template <typename U>
  using OnDevice = typename Testing<Device>::template Numbers<U>;

  // Keys and values on the host.
  struct Cache {
    std::vector<T> keys, values;
  };

  // Keys and values in the device's memory.
  struct DeviceCache {
    explicit DeviceCache(const Cache& cache) : keys(cache.keys), values(cache.values) {}
    explicit DeviceCache(int64_t size) : keys(Unwritten<T>(size)), values(Unwritten<T>(size)) {}

    KeysAndValues<const T*> view() const { return {keys.data(), values.data()}; }
    KeysAndValues<T*> mutable_view() { return {keys.data(), values.data()}; }
    Cache host() const { return {keys.host(), values.host()}; }

    OnDevice<T> keys, values;
  };

  struct Problem {
    Problem(const LayerOptions& options, const std::vector<int64_t>& steps, int64_t lag)
        : options(options),
          steps(steps),
          lag(lag),
          weights(LayerWeights::Random(options, 10)),
          x(Random<T>(kBatch * kLength * options.hidden_size, 1)),
          memory(Random<T>(kBatch * kMemoryLength * options.memory_size, 2)),
          dy(Random<T>(x.size(), 3)) {}

    bool has_memory() const { return options.memory_size > 0; }
    int64_t n() const { return options.hidden_size; }
    int64_t memory_rows() const { return has_memory() ? kBatch * kMemoryLength : 0; }

    const LayerOptions options;
    const std::vector<int64_t> steps;  // numbers of positions
    const int64_t lag;
    const LayerWeights weights;
    const std::vector<T> x, memory, dy;
  };

  struct LayerResult {
    std::vector<T> y, dx, dmemory;
    std::vector<std::vector<float>> gradient;
  };

  // The whole layer on all positions at once.
  LayerResult RunLayer(const Problem& p) {
    const Ragged sentences(std::vector<int32_t>(kBatch, kLength));
    const Ragged memory_sentences(std::vector<int32_t>(kBatch, kMemoryLength), kMemoryLengths);
    const DeviceRagged<Device> rows(sentences), memory_rows(memory_sentences);
    const DeviceWeights<Device> weights(p.weights);
    DeviceWeights<Device> gradient(LayerWeights::Unwritten(p.options));
    const OnDevice<T> x(p.x), memory(p.memory), dy(p.dy);
    OnDevice<T> y(Unwritten<T>(p.x.size())), dx(Unwritten<T>(p.x.size()));
    OnDevice<T> dmemory(Unwritten<T>(p.memory.size()));
    const auto pointers = weights.pointers();
    const auto run = [&](const auto& layer, auto... dmemory) {
      OnDevice<unsigned char> reserve(std::vector<unsigned char>(layer.ReserveBytes()));
      layer.Forward(x.data(), reserve.data(), y.data());
      layer.Backward(x.data(), reserve.data(), dy.data(), dx.data(), dmemory...,
                     gradient.mutable_pointers().data());
    };
    if (p.has_memory()) {
      run(DecoderLayer<Device, T>(device_, p.options, rows.view(),
                                  {memory.data(), memory_rows.view(), p.lag}, pointers.data()),
          dmemory.data());
    } else {
      run(EncoderLayer<Device, T>(device_, p.options, rows.view(), pointers.data()));
    }
    return {y.host(), dx.host(), dmemory.host(), gradient.host()};
  }

  // Compares steps with the whole layer, and if told to the sum of their gradients, from the last
  // to the first, with the whole layer's.
  void Check(const Problem& p, bool gradients = false) {
    const int64_t n = p.n();
    const LayerResult expected = RunLayer(p);
    const DeviceWeights<Device> weights(p.weights);
    const auto pointers = weights.pointers();
    const DeviceCache memory(ProjectMemory(p, weights));
    const OnDevice<int32_t> memory_lengths(kMemoryLengths);
    std::vector<int64_t> positions = {0};
    const auto make_step = [&](size_t i, const auto& run) {
      const ProjectedMemory<T> projected = {memory.view(), kMemoryLength, memory_lengths.data(),
                                            p.lag == kNoLag ? kNoLag : p.lag + positions[i]};
      run(Step(device_, p.options, kBatch, positions[i], p.steps[i],
               p.has_memory() ? &projected : nullptr, pointers.data()));
    };

    // Forward, keeping every cache.
    std::vector<DeviceCache> caches = {DeviceCache(Cache())};
    for (size_t i = 0; i < p.steps.size(); ++i) {
      SCOPED_TRACE(std::to_string(p.steps[i]) + " positions behind " +
                   std::to_string(positions[i]));
      positions.push_back(positions[i] + p.steps[i]);
      const OnDevice<T> x(Slice(p.x, n, positions[i], p.steps[i]));
      OnDevice<T> y(Unwritten<T>(kBatch * p.steps[i] * n));
      DeviceCache grown(kBatch * positions[i + 1] * n);
      make_step(i, [&](const Step& step) {
        step.Forward(x.data(), caches[i].view(), grown.mutable_view(), y.data());
      });
      EXPECT_TRUE(
          Close(y.host(), Slice(expected.y, n, positions[i], p.steps[i]), kOutputTolerance<T>));
      const Cache before = caches[i].host(), after = grown.host();
      EXPECT_TRUE(Identical(Slice(after.keys, n, 0, positions[i]), before.keys))
          << "keeps the keys before";
      EXPECT_TRUE(Identical(Slice(after.values, n, 0, positions[i]), before.values));
      caches.push_back(std::move(grown));
    }
    if (!gradients) return;

    // Backward. Nobody uses the last caches.
    Cache dcache = {std::vector<T>(p.x.size()), std::vector<T>(p.x.size())};
    std::vector<double> dmemory_keys(p.memory_rows() * n), dmemory_values(dmemory_keys);
    auto gradient = p.weights.Widened();
    for (auto& tensor : gradient) std::fill(tensor.begin(), tensor.end(), 0.0);
    for (size_t i = p.steps.size(); i-- > 0;) {
      const OnDevice<T> x(Slice(p.x, n, positions[i], p.steps[i]));
      const OnDevice<T> dy(Slice(p.dy, n, positions[i], p.steps[i]));
      const DeviceCache dall(dcache);
      OnDevice<T> dx(Unwritten<T>(kBatch * p.steps[i] * n));
      DeviceCache dbefore(kBatch * positions[i] * n), dmemory(dmemory_keys.size());
      DeviceWeights<Device> step_gradient(LayerWeights::Unwritten(p.options));
      make_step(i, [&](const Step& step) {
        step.Backward(x.data(), caches[i].view(), dy.data(), dall.view(), dx.data(),
                      dbefore.mutable_view(), dmemory.mutable_view(),
                      step_gradient.mutable_pointers().data());
      });
      EXPECT_TRUE(
          Close(dx.host(), Slice(expected.dx, n, positions[i], p.steps[i]), kGradientTolerance<T>))
          << "of x, from position " << positions[i];
      Sum(dmemory.keys.host(), &dmemory_keys);
      Sum(dmemory.values.host(), &dmemory_values);
      const auto tensors = step_gradient.host();
      for (size_t j = 0; j < gradient.size(); ++j) Sum(tensors[j], &gradient[j]);
      dcache = dbefore.host();
    }
    if (p.has_memory()) {
      // The projection, which is outside of the steps.
      std::vector<T> dkv;
      for (int64_t i = 0; i < p.memory_rows(); ++i) {
        for (const auto* part : {&dmemory_keys, &dmemory_values}) {
          const std::vector<double> row(part->begin() + i * n, part->begin() + (i + 1) * n);
          for (const T value : Convert<T>(row)) dkv.push_back(value);
        }
      }
      const OnDevice<T> data(p.memory), dprojected(dkv);
      OnDevice<T> dmemory(Unwritten<T>(p.memory.size()));
      OnDevice<float> kernel(Unwritten<float>(p.options.memory_size * 2 * n));
      OnDevice<float> bias(Unwritten<float>(2 * n));
      ColumnSums<Device> sums(device_);
      DenseGradient<Device, T>(device_, Cross(pointers).kv, p.options.memory_size, 2 * n,
                               data.data(), dprojected.data(), p.memory_rows(), dmemory.data(),
                               {kernel.data(), bias.data()}, &sums);
      sums.Finish();
      EXPECT_TRUE(Close(dmemory.host(), expected.dmemory, kGradientTolerance<T>))
          << "of the memory";
      Sum(kernel.host(), &gradient[kKvKernel]);
      Sum(bias.host(), &gradient[kKvKernel + 1]);
    }
    for (size_t j = 0; j < gradient.size(); ++j) {
      EXPECT_TRUE(Close(gradient[j], expected.gradient[j], kGradientTolerance<T>))
          << "of weight " << j;
    }
  }

  void Check(const LayerOptions& options, const std::vector<int64_t>& steps, int64_t lag = kNoLag) {
    Check(Problem(options, steps, lag));
  }
  void CheckGradient(const LayerOptions& options, const std::vector<int64_t>& steps,
                     int64_t lag = kNoLag) {
    Check(Problem(options, steps, lag), /*gradients=*/true);
  }

 private:
  static constexpr int kKvKernel = 10;  // among a decoder layer's weights

  static CrossAttentionWeights<const float*> Cross(const std::vector<const float*>& weights) {
    return CrossAttentionWeights<const float*>::From(weights.data() + 6);
  }

  template <typename U>
  static void Sum(const std::vector<U>& from, std::vector<double>* to) {
    for (size_t i = 0; i < from.size(); ++i) (*to)[i] += Value(from[i]);
  }

  Cache ProjectMemory(const Problem& p, const DeviceWeights<Device>& weights) {
    if (!p.has_memory()) return {};
    const int64_t n = p.n();
    const OnDevice<T> memory(p.memory);
    OnDevice<T> projected(Unwritten<T>(p.memory_rows() * 2 * n));
    Dense<Device, T>(device_, Cross(weights.pointers()).kv, p.options.memory_size, 2 * n,
                     memory.data(), p.memory_rows(), projected.data());
    const std::vector<T> kv = projected.host();
    Cache cache;
    for (auto row = kv.begin(); row != kv.end(); row += 2 * n) {
      cache.keys.insert(cache.keys.end(), row, row + n);
      cache.values.insert(cache.values.end(), row + n, row + 2 * n);
    }
    return cache;
  }

  const typename Testing<Device>::Instance test_device_;
  const Device& device_ = test_device_;
};

TYPED_TEST_SUITE(DecoderStepTest, test::DeviceTypes);

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
