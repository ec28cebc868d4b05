// Times Transformer layers on the GPU: the forward and the backward pass of an encoder and of a
// decoder layer in float16, with dropout, without padding.
//
//     gpu_layers_benchmark HIDDEN HEADS FILTER BATCH LENGTH [float16|bfloat16]
//
// prints one line of JSON: microseconds of each, the median of many. benchmarks/gpu_layers.py runs
// it beside PyTorch.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"
#include "cc/kernels/cast_weights.h"
#include "cc/layers/decoder_layer.h"
#include "cc/layers/encoder_layer.h"
#include "cc/testing/device_ragged.h"
#include "cc/testing/device_weights.h"
#include "cc/testing/ragged.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::CheckCuda;
using test::DeviceRagged;
using test::DeviceWeights;
using test::GpuNumbers;
using test::LayerWeights;
using test::Ragged;
using test::Random;

// Scratch memory cut from one piece, as cheap to get as from TensorFlow's allocator.
class StackArena : public Arena {
 public:
  explicit StackArena(size_t bytes) : memory_(test::AllocateGpu(bytes)), bytes_(bytes) {}

 protected:
  void* AllocateBytes(size_t bytes) override {
    const size_t start = ends_.empty() ? 0 : ends_.back();
    ends_.push_back(start + (bytes + 255) / 256 * 256);
    if (ends_.back() > bytes_) throw std::runtime_error("the benchmark's scratch memory is full");
    return static_cast<unsigned char*>(memory_.get()) + start;
  }
  size_t BlockCount() const override { return ends_.size(); }
  void ShrinkTo(size_t block_count) override { ends_.resize(block_count); }

 private:
  const test::GpuMemory memory_;
  const size_t bytes_;
  std::vector<size_t> ends_;
};

// Microseconds of a call, the median of many.
double Time(const std::function<void()>& call) {
  constexpr int kWarmUp = 20;
  constexpr int kRepeats = 100;
  for (int i = 0; i < kWarmUp; ++i) call();
  std::vector<cudaEvent_t> events(kRepeats + 1);
  for (cudaEvent_t& event : events) CheckCuda(cudaEventCreate(&event));
  CheckCuda(cudaEventRecord(events[0]));
  for (int i = 0; i < kRepeats; ++i) {
    call();
    CheckCuda(cudaEventRecord(events[i + 1]));
  }
  CheckCuda(cudaDeviceSynchronize());
  std::vector<float> times(kRepeats);
  for (int i = 0; i < kRepeats; ++i) {
    CheckCuda(cudaEventElapsedTime(&times[i], events[i], events[i + 1]));
  }
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  return times[kRepeats / 2] * 1e3;
}

template <typename T>
class Benchmark {
 public:
  Benchmark(int64_t hidden, int64_t heads, int64_t filter, int64_t batch, int64_t length)
      : arena_(size_t{4} << 30),
        sentences_(Ragged(std::vector<int32_t>(batch, length))),
        x_(Random<T>(batch * length * hidden, 1)),
        memory_(Random<T>(batch * length * hidden, 2)),
        dy_(Random<T>(batch * length * hidden, 3)),
        y_(x_),
        dx_(x_),
        dmemory_(x_) {
    options_.hidden_size = hidden;
    options_.num_heads = heads;
    options_.filter_size = filter;
    options_.attention_dropout = options_.activation_dropout = options_.residual_dropout = 0.1f;
    options_.seed = 1;
  }

  void Run() {
    std::printf("{");
    {
      const Layer layer(options_);
      TimeLayer("encoder", layer, [&](const Gpu& gpu) {
        return EncoderLayer<Gpu, T>(gpu, options_, sentences_.view(), layer.weights.data());
      });
    }
    std::printf(", ");
    options_.causal = true;
    options_.memory_size = options_.hidden_size;
    {
      const Layer layer(options_);
      TimeLayer("decoder", layer, [&](const Gpu& gpu) {
        return DecoderLayer<Gpu, T>(gpu, options_, sentences_.view(),
                                    {memory_.data(), sentences_.view(), kNoLag},
                                    layer.weights.data());
      });
    }
    std::printf("}\n");
  }

 private:
  struct Layer {
    explicit Layer(const LayerOptions& options)
        : host(LayerWeights::Random(options, 10)),
          device(host),
          gradient_memory(host),
          weights(device.pointers()),
          gradient(gradient_memory.mutable_pointers()) {
      for (size_t i = 0; i < weights.size(); ++i) {
        pieces.push_back({weights[i], 1, static_cast<int64_t>(host.tensors()[i].size())});
      }
    }

    const LayerWeights host;
    const DeviceWeights<Gpu> device;
    DeviceWeights<Gpu> gradient_memory;
    const std::vector<const float*> weights;
    const std::vector<float*> gradient;
    std::vector<WeightPiece> pieces;
  };

  template <typename MakeLayer>
  void TimeLayer(const char* name, const Layer& weights, const MakeLayer& make_layer) {
    // As the operations do it: the forward pass casts the weights, and keeps the casts.
    const test::GpuMemory copies =
        test::AllocateGpu(PlaceCasts<T>(weights.pieces, nullptr, nullptr));
    WeightCasts casts;
    PlaceCasts<T>(weights.pieces, copies.get(), &casts);
    Gpu gpu{/*stream=*/nullptr, &arena_};
    gpu.weight_casts = &casts;
    const auto layer = make_layer(gpu);
    const test::GpuMemory reserve = test::AllocateGpu(layer.ReserveBytes());
    const double forward = Time([&] {
      const ArenaScope scope(&arena_);
      CastWeights<T>(gpu, weights.pieces, copies.get());
      layer.Forward(x_.data(), reserve.get(), y_.data());
    });
    const double backward = Time([&] {
      const ArenaScope scope(&arena_);
      Backward(layer, reserve.get(), weights);
    });
    std::printf("\"%s_forward\": %.1f, \"%s_backward\": %.1f", name, forward, name, backward);
  }

  void Backward(const EncoderLayer<Gpu, T>& layer, const void* reserve, const Layer& weights) {
    layer.Backward(x_.data(), reserve, dy_.data(), dx_.data(), weights.gradient.data());
  }
  void Backward(const DecoderLayer<Gpu, T>& layer, const void* reserve, const Layer& weights) {
    layer.Backward(x_.data(), reserve, dy_.data(), dx_.data(), dmemory_.data(),
                   weights.gradient.data());
  }

  LayerOptions options_;
  StackArena arena_;
  const DeviceRagged<Gpu> sentences_;
  const GpuNumbers<T> x_, memory_, dy_;
  GpuNumbers<T> y_, dx_, dmemory_;
};

}  // namespace
}  // namespace tf_ls

int main(int count, char** arguments) {
  const std::string type = count == 7 ? arguments[6] : "float16";
  if (count < 6 || count > 7 || (type != "float16" && type != "bfloat16")) {
    std::fprintf(stderr, "usage: %s HIDDEN HEADS FILTER BATCH LENGTH [float16|bfloat16]\n",
                 arguments[0]);
    return 2;
  }
  const auto number = [&](int i) { return std::atoll(arguments[i]); };
  const auto run = [&](auto zero) {
    tf_ls::Benchmark<decltype(zero)>(number(1), number(2), number(3), number(4), number(5)).Run();
  };
  try {
    type == "float16" ? run(tf_ls::float16()) : run(tf_ls::bfloat16());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
