// Times attention on the GPU:
//
//     gpu_attention_benchmark [SENTENCES LENGTH]
//
// Inputs are as small as batches are and stay in the second-level cache, as they do behind the
// product that makes them.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/float16.h"
#include "cc/core/gpu.h"
#include "cc/kernels/attention.h"
#include "cc/testing/test_gpu.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::CheckCuda;
using test::GpuNumbers;
using test::Random;

constexpr int64_t kHeads = 8;
constexpr int64_t kHeadSize = 64;

// Hands out one block of the GPU's memory again and again, as TensorFlow's allocator does.
class FixedArena : public Arena {
 public:
  explicit FixedArena(size_t bytes) : bytes_(bytes), memory_(test::AllocateGpu(bytes)) {}

 protected:
  void* AllocateBytes(size_t bytes) override {
    starts_.push_back(used_);
    used_ += bytes;
    if (used_ > bytes_) throw std::runtime_error("the benchmark's scratch memory is too small");
    return static_cast<char*>(memory_.get()) + starts_.back();
  }
  size_t BlockCount() const override { return starts_.size(); }
  void ShrinkTo(size_t block_count) override {
    if (block_count < starts_.size()) used_ = starts_[block_count];
    starts_.resize(block_count);
  }

 private:
  const size_t bytes_;
  const test::GpuMemory memory_;
  std::vector<size_t> starts_;
  size_t used_ = 0;
};

// A stream, and the time that work on it takes without the host's part in it.
class Stopwatch {
 public:
  Stopwatch() {
    CheckCuda(cudaStreamCreate(&stream_));
    CheckCuda(cudaEventCreate(&begin_));
    CheckCuda(cudaEventCreate(&end_));
  }
  ~Stopwatch() {
    cudaEventDestroy(end_);
    cudaEventDestroy(begin_);
    cudaStreamDestroy(stream_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  CUstream_st* stream() const { return stream_; }

  // The median of the microseconds that a call takes, of rounds of calls in one CUDA graph.
  double Microseconds(const std::function<void()>& call) const {
    constexpr int kRounds = 15;
    constexpr int kCalls = 40;
    call();  // loads the kernel
    CheckCuda(cudaStreamSynchronize(stream_));
    cudaGraph_t graph;
    cudaGraphExec_t calls;
    CheckCuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < kCalls; ++i) call();
    CheckCuda(cudaStreamEndCapture(stream_, &graph));
    CheckCuda(cudaGraphInstantiate(&calls, graph, 0));
    std::vector<float> times;
    for (int round = 0; round < kRounds + 2; ++round) {
      CheckCuda(cudaEventRecord(begin_, stream_));
      CheckCuda(cudaGraphLaunch(calls, stream_));
      CheckCuda(cudaEventRecord(end_, stream_));
      CheckCuda(cudaEventSynchronize(end_));
      float milliseconds = 0.0f;
      CheckCuda(cudaEventElapsedTime(&milliseconds, begin_, end_));
      if (round >= 2) times.push_back(milliseconds * 1000.0f / kCalls);  // behind two to warm up
    }
    CheckCuda(cudaGraphExecDestroy(calls));
    CheckCuda(cudaGraphDestroy(graph));
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_, end_;
};

template <typename T>
void Measure(const char* type, int64_t count, int64_t length, bool causal, float rate) {
  const int64_t n = kHeads * kHeadSize;
  const int64_t rows = count * length;
  std::vector<int32_t> starts;
  for (int64_t i = 0; i <= count; ++i) starts.push_back(static_cast<int32_t>(i * length));
  const GpuNumbers<int32_t> offsets(starts);
  const GpuNumbers<int32_t> lengths(std::vector<int32_t>(count, static_cast<int32_t>(length)));
  const Sentences sentences = {offsets.data(), lengths.data(), count, rows};
  const AttentionShape shape = {kHeads, kHeadSize, sentences, sentences, causal, kNoLag};
  const Dropout dropout = {rate, 1, DropoutSite::kSelfAttentionWeights};
  FixedArena arena((rows * n + rows * kHeads) * sizeof(float) + 1024);
  const Stopwatch stopwatch;
  const Gpu gpu = {stopwatch.stream(), &arena};

  const GpuNumbers<T> qkv(Random<T>(rows * 3 * n, 1)), dout(Random<T>(rows * n, 2));
  GpuNumbers<T> out(std::vector<T>(rows * n)), dqkv(std::vector<T>(rows * 3 * n));
  GpuNumbers<float> log_sums(std::vector<float>(rows * kHeads));
  const auto part = [&](int64_t i) { return HeadRows<const T>{qkv.data() + i * n, 3 * n}; };
  const auto dpart = [&](int64_t i) { return HeadRows<T>{dqkv.data() + i * n, 3 * n}; };
  const double forward = stopwatch.Microseconds([&] {
    Attention<T>(gpu, shape, dropout, part(0), part(1), part(2), out.data(), log_sums.data());
  });
  const double backward = stopwatch.Microseconds([&] {
    AttentionGradient<T>(gpu, shape, dropout, part(0), part(1), part(2), out.data(),
                         log_sums.data(), dout.data(), dpart(0), dpart(1), dpart(2));
  });
  const double pairs = static_cast<double>(count) * length * (causal ? length + 1 : 2 * length) / 2;
  std::printf(
      "%-8s %4d x %3d %-6s dropout %.1f   forward %7.1f us %6.1f TFLOP/s   "
      "backward %7.1f us %6.1f TFLOP/s\n",
      type, static_cast<int>(count), static_cast<int>(length), causal ? "causal" : "", rate,
      forward, 4 * pairs * n / forward * 1e-6, backward, 10 * pairs * n / backward * 1e-6);
}

void MeasureOptions(int64_t count, int64_t length) {
  for (const bool causal : {false, true}) {
    for (const float rate : {0.0f, 0.1f}) Measure<float16>("float16", count, length, causal, rate);
  }
}

}  // namespace
}  // namespace tf_ls

int main(int argc, char** argv) {
  if (argc == 3) {
    tf_ls::MeasureOptions(std::atoi(argv[1]), std::atoi(argv[2]));
    return 0;
  }
  for (const auto& [count, length] : {std::pair(128, 32), {32, 128}, {16, 512}}) {
    tf_ls::MeasureOptions(count, length);
    tf_ls::Measure<float>("float32", count, length, false, 0.1f);
  }
}
