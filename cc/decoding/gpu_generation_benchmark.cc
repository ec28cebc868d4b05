// Times the generation loop on the GPU, without TensorFlow: beam search of a model of NeurST's
// transformer_base's or transformer_big's size with random weights, sources of 32 and hypotheses of
// 64 tokens.
//
//     gpu_generation_benchmark base|big SENTENCES BEAMS [float16|bfloat16]
//
// prints one line of JSON, times in microseconds of a step: "loop", a whole search's share;
// "launched", a step alone, whose launches the device waits for; "graph", the same step as a CUDA
// graph, which is the device's own time, "layers", "logits" and "top_k", parts of it as graphs of
// their own; "record" and "launch", the host's time to make a graph of a step and to launch it;
// "floor", reading all weights once at 3.35 TB/s.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"
#include "cc/decoding/generation_loop.h"
#include "cc/kernels/cast_weights.h"
#include "cc/kernels/launch_graph.h"
#include "cc/testing/device_weights.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::CheckCuda;
using test::DeviceWeights;
using test::GpuNumbers;
using test::LayerWeights;
using test::Random;

constexpr int64_t kLayers = 6, kVocab = 32000, kSource = 32, kLength = 64;

// Memory cut from large blocks, as cheap to get as from TensorFlow's allocator.
class GpuBlocks : public BlockArena {
 public:
  GpuBlocks() : BlockArena(size_t{1} << 30) {}

 protected:
  std::shared_ptr<void> NewBlock(size_t bytes) override {
    return std::shared_ptr<void>(test::AllocateGpu(bytes));
  }
};

class PinnedBlocks : public BlockArena {
 public:
  PinnedBlocks() : BlockArena(size_t{1} << 24) {}

 protected:
  std::shared_ptr<void> NewBlock(size_t bytes) override {
    void* block = nullptr;
    CheckCuda(cudaMallocHost(&block, bytes));
    return {block, cudaFreeHost};
  }
};

// Microseconds of a call that waits for the device, the median of many.
double Time(const std::function<void()>& call, int repeats = 50) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times(repeats);
  for (int i = 0; i < 3; ++i) call();
  for (double& time : times) {
    const auto start = Clock::now();
    call();
    time = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[repeats / 2];
}

template <typename T>
class Benchmark {
 public:
  Benchmark(bool big, int64_t sentences, int beams)
      : hidden_(big ? 1024 : 512),
        sentences_(sentences),
        memory_(Random<T>(sentences * kSource * hidden_, 1)),
        embeddings_(Random<float>(kVocab * hidden_, 2, 0.05)),
        positions_(Random<float>(kLength * hidden_, 3)),
        norm_(Random<float>(2 * hidden_, 4)),
        bias_(Random<float>(kVocab, 5)),
        memory_lengths_(sentences, kSource),
        starts_(sentences, SentenceStart{1, {}, static_cast<int>(kSource)}) {
    CheckCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    options_.search.eos = 2;
    options_.search.beam_size = beams;
    options_.search.max_length = options_.search.min_length = kLength;
    LayerOptions layer;
    layer.hidden_size = layer.memory_size = hidden_;
    layer.num_heads = hidden_ / 64;
    layer.filter_size = 4 * hidden_;
    const LayerWeights weights = LayerWeights::Random(layer, 6);
    std::vector<WeightPiece> pieces = {{embeddings_.data(), kVocab, hidden_, true}};
    for (int64_t i = 0; i < kLayers; ++i) {
      layer_weights_.push_back(std::make_unique<DeviceWeights<Gpu>>(weights));
      pointers_.push_back(layer_weights_.back()->pointers());
      for (size_t j = 0; j < weights.tensors().size(); ++j) {
        const auto numbers = static_cast<int64_t>(weights.tensors()[j].size());
        pieces.push_back({pointers_.back()[j], 1, numbers});
      }
    }
    for (const auto& of_layer : pointers_) model_.layers.push_back({layer, of_layer.data()});
    model_.embeddings = embeddings_.data();
    model_.embedding_scale = 1.0f;
    model_.positions = positions_.data();
    model_.norm = {norm_.data(), norm_.data() + hidden_};
    model_.epsilon = 1e-6f;
    model_.output = {embeddings_.data(), bias_.data(), hidden_, kVocab};
    for (const WeightPiece& piece : pieces) weight_bytes_ += piece.count() * sizeof(T);
    copies_ = test::AllocateGpu(PlaceCasts<T>(pieces, nullptr, nullptr));
    PlaceCasts<T>(pieces, copies_.get(), &casts_);
    gpu_.weight_casts = &casts_;
    gpu_.stream = stream_;
    gpu_.arena = &scratch_;
    CastWeights<T>(gpu_, pieces, copies_.get());
    CheckCuda(cudaDeviceSynchronize());
  }
  ~Benchmark() { cudaStreamDestroy(stream_); }
  Benchmark(const Benchmark&) = delete;
  Benchmark& operator=(const Benchmark&) = delete;

  void Run() {
    GpuBlocks lasting;
    PinnedBlocks pinned;
    const double loop = Time(
                            [&] {
                              const ArenaScope scope(&lasting), host_scope(&pinned);
                              Generate<Gpu, T>(gpu_, model_, Memory(), starts_, options_,
                                               {&lasting, &pinned}, [] { return false; });
                            },
                            5) /
                        kLength;
    std::printf("{\"loop\": %.1f, ", loop);
    TimeStep(&lasting, &pinned);
    std::printf("\"floor\": %.1f}\n", weight_bytes_ / 3.35e6);
  }

 private:
  GenerationMemory<T> Memory() const {
    return {memory_.data(), sentences_, kSource, memory_lengths_.data()};
  }

  // A step in the middle of a search.
  void TimeStep(Arena* lasting, Arena* pinned) {
    SearchBatch searches(options_, starts_);
    GenerationStep<Gpu, T> step(gpu_, model_, Memory(), options_, searches, lasting);
    const StepLimits limits = searches.limits();
    BufferCutter measure(nullptr);
    StepInputs::Cut(limits, &measure);
    BufferCutter host_cutter(pinned->Allocate<unsigned char>(measure.used()));
    BufferCutter device_cutter(lasting->Allocate<unsigned char>(measure.used()));
    const StepInputs inputs = StepInputs::Cut(limits, &host_cutter);
    const StepInputs device_inputs = StepInputs::Cut(limits, &device_cutter);
    StepWork work;
    unsigned char* const block = lasting->Allocate<unsigned char>(size_t{64} << 20);
    unsigned char* const host_block = pinned->Allocate<unsigned char>(size_t{64} << 20);
    StepOutputs outputs;
    for (int64_t i = 0; i < kLength / 2; ++i) {
      work = searches.Prepare(inputs);
      CopyToDevice(gpu_, inputs.tokens, inputs.UsedBytes(work), device_inputs.tokens);
      BufferCutter to_device(block), to_host(host_block);
      outputs = StepOutputs::Cut(work, 0, &to_device);
      FillBytes(gpu_, outputs.bad_row, 0xff, sizeof(int64_t));
      step.Run(work, static_cast<int>(1 - i % 2), device_inputs, outputs);
      const StepOutputs found = StepOutputs::Cut(work, 0, &to_host);
      CopyToHost(gpu_, block, to_host.used(), host_block);
      searches.Advance(found, 0);
    }
    const auto run = [&] { step.Run(work, 1, device_inputs, outputs); };
    const auto wait = [&] { CheckCuda(cudaStreamSynchronize(stream_)); };
    const double launched = Time([&] {
      run();
      wait();
    });
    const double recorded = Time([&] { Recorded(run); }, 5);
    const LaunchGraph graph = Recorded(run);
    const double launch = Time([&] { graph.Launch(gpu_); });
    wait();
    std::printf("\"launched\": %.1f, \"record\": %.1f, \"launch\": %.1f, \"graph\": %.1f, ",
                launched, recorded, launch, Replayed(run));
    TimeParts(work, outputs);
  }

  LaunchGraph Recorded(const std::function<void()>& launch) {
    return LaunchGraph([&](CUstream_st* stream) {
      gpu_.stream = stream;
      launch();
      gpu_.stream = stream_;
    });
  }

  double Replayed(const std::function<void()>& launch) {
    const LaunchGraph graph = Recorded(launch);
    return Time([&] {
      graph.Launch(gpu_);
      CheckCuda(cudaStreamSynchronize(stream_));
    });
  }

  void TimeParts(const StepWork& work, const StepOutputs& outputs) {
    const ArenaScope scope(&scratch_);
    T* const x = scratch_.Allocate<T>(work.rows * hidden_);
    float* const data = scratch_.Allocate<float>(work.rows * LogitStride(gpu_, kVocab));
    CheckCuda(cudaMemset(x, 0, work.rows * hidden_ * sizeof(T)));
    const LogitPiece piece = {data, LogitStride(gpu_, kVocab), work.rows, 0, kVocab, kVocab};
    const auto time = [&](const char* name, const std::function<void()>& part) {
      part();
      std::printf("\"%s\": %.1f, ", name, Replayed(part));
    };
    time("logits", [&] { Logits(gpu_, x, model_.output, piece); });
    time("top_k", [&] {
      TopK(gpu_, piece.ToRead(),
           {work.k, outputs.logits, outputs.ids, outputs.log_sums, outputs.bad_row});
    });
  }

  const int64_t hidden_, sentences_;
  cudaStream_t stream_ = nullptr;
  GpuBlocks scratch_;
  Gpu gpu_ = {};
  const GpuNumbers<T> memory_;
  const GpuNumbers<float> embeddings_, positions_, norm_, bias_;
  const std::vector<int32_t> memory_lengths_;
  const std::vector<SentenceStart> starts_;
  GenerationOptions options_;
  std::vector<std::unique_ptr<DeviceWeights<Gpu>>> layer_weights_;
  std::vector<std::vector<const float*>> pointers_;
  GenerationModel model_;
  test::GpuMemory copies_;
  WeightCasts casts_;
  double weight_bytes_ = 0.0;
};

}  // namespace
}  // namespace tf_ls

int main(int count, char** arguments) {
  const std::string size = count > 1 ? arguments[1] : "";
  const std::string type = count == 5 ? arguments[4] : "float16";
  if (count < 4 || count > 5 || (size != "base" && size != "big") ||
      (type != "float16" && type != "bfloat16")) {
    std::fprintf(stderr, "usage: %s base|big SENTENCES BEAMS [float16|bfloat16]\n", arguments[0]);
    return 2;
  }
  const auto run = [&](auto zero) {
    tf_ls::Benchmark<decltype(zero)>(size == "big", std::atoll(arguments[2]),
                                     std::atoi(arguments[3]))
        .Run();
  };
  try {
    type == "float16" ? run(tf_ls::float16()) : run(tf_ls::bfloat16());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
