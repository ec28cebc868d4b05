// Times the kernels that work on rows, in float16, the losses and a step of Adam on the current
// GPU, and sets the bytes that they must move against what a large copy moves in the same time (and
// the flops of the projected cross entropy against the time):
//
//   bazel run //cc/kernels:gpu_kernels_benchmark
//
// Kernels are captured in a graph, once for each of many sets of tensors that together are several
// times the second-level cache: what is read comes from memory. (A kernel's launch, about a
// microsecond, is part of its time.) The time is the median of many replays over the number of
// sets.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/float16.h"
#include "cc/core/gpu.h"
#include "cc/kernels/activation.h"
#include "cc/kernels/adam.h"
#include "cc/kernels/append_rows.h"
#include "cc/kernels/column_sum.h"
#include "cc/kernels/cross_entropy.h"
#include "cc/kernels/dropout.h"
#include "cc/kernels/embedding.h"
#include "cc/kernels/layer_norm.h"
#include "cc/kernels/pack.h"
#include "cc/kernels/pre_norm_gradient.h"
#include "cc/kernels/projected_cross_entropy.h"
#include "cc/kernels/scale.h"
#include "cc/testing/test_gpu.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::AllocateGpu;
using test::CheckCuda;
using test::GpuMemory;
using test::GpuNumbers;

constexpr int kReplays = 30;
constexpr int64_t kRotatedBytes = 200
                                  << 20;  // of one tensor's sets; no GPU has half of it as cache
constexpr int64_t kScratchBytes = 512 << 20;
constexpr int64_t kVocabSize = 32000;

// Scratch memory that is there before anything is timed.
class BenchmarkArena : public Arena {
 protected:
  void* AllocateBytes(size_t bytes) override {
    starts_.push_back(used_);
    used_ += bytes;
    if (used_ > kScratchBytes) throw std::bad_alloc();
    return static_cast<char*>(memory_.get()) + starts_.back();
  }
  size_t BlockCount() const override { return starts_.size(); }
  void ShrinkTo(size_t block_count) override {
    if (block_count < starts_.size()) used_ = starts_[block_count];
    starts_.resize(block_count);
  }

 private:
  const GpuMemory memory_ = AllocateGpu(kScratchBytes);
  std::vector<int64_t> starts_;
  int64_t used_ = 0;
};

// What is timed: a kernel on one of the sets of tensors, and the bytes that it must move.
struct Case {
  std::string name;
  double bytes;
  std::function<void(int64_t)> run;
};

class Benchmark {
 public:
  Benchmark() {
    CheckCuda(cudaStreamCreate(&stream_));
    CheckCuda(cudaEventCreate(&start_));
    CheckCuda(cudaEventCreate(&end_));
    gpu_ = {stream_, &arena_};
  }
  ~Benchmark() {
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }
  Benchmark(const Benchmark&) = delete;
  Benchmark& operator=(const Benchmark&) = delete;

  const Gpu& gpu() const { return gpu_; }

  // Microseconds that run(0) to run(sets - 1) take on average.
  double Time(int64_t sets, const std::function<void(int64_t)>& run) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    run(0);  // what libraries load at first use cannot be captured
    CheckCuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
    for (int64_t i = 0; i < sets; ++i) run(i);
    CheckCuda(cudaStreamEndCapture(stream_, &graph));
    CheckCuda(cudaGraphInstantiate(&executable, graph, 0));
    std::vector<float> times;
    for (int i = -3; i < kReplays; ++i) {  // the first ones warm up
      CheckCuda(cudaEventRecord(start_, stream_));
      CheckCuda(cudaGraphLaunch(executable, stream_));
      CheckCuda(cudaEventRecord(end_, stream_));
      CheckCuda(cudaEventSynchronize(end_));
      float milliseconds;
      CheckCuda(cudaEventElapsedTime(&milliseconds, start_, end_));
      if (i >= 0) times.push_back(milliseconds);
    }
    CheckCuda(cudaGraphExecDestroy(executable));
    CheckCuda(cudaGraphDestroy(graph));
    std::nth_element(times.begin(), times.begin() + kReplays / 2, times.end());
    return times[kReplays / 2] * 1e3 / sets;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t start_, end_;
  BenchmarkArena arena_;
  Gpu gpu_;
};

// Memory full of random numbers.
GpuMemory RandomGpu(int64_t bytes) {
  const auto numbers = test::Random<float16>(int64_t{1} << 20, 1, 3.0);
  const int64_t piece = numbers.size() * sizeof(float16);
  GpuMemory memory = AllocateGpu(bytes);
  for (int64_t start = 0; start < bytes; start += piece) {
    CheckCuda(cudaMemcpy(static_cast<char*>(memory.get()) + start, numbers.data(),
                         std::min(piece, bytes - start), cudaMemcpyHostToDevice));
  }
  return memory;
}

// Sets of four tensors [rows, n] of random numbers in one piece of memory.
class Tensors {
 public:
  Tensors(int64_t rows, int64_t n)
      : size_(rows * n),
        sets_(kRotatedBytes / (size_ * sizeof(float16)) + 1),
        memory_(RandomGpu(4 * sets_ * size_ * sizeof(float16))) {}

  int64_t sets() const { return sets_; }
  float16* x(int64_t set) const { return At(4 * set); }
  float16* dy(int64_t set) const { return At(4 * set + 1); }
  float16* residual(int64_t set) const { return At(4 * set + 2); }
  float16* y(int64_t set) const { return At(4 * set + 3); }

 private:
  float16* At(int64_t i) const { return static_cast<float16*>(memory_.get()) + i * size_; }

  const int64_t size_;
  const int64_t sets_;
  const GpuMemory memory_;
};

// Everything for tensors of one size.
class Problem {
 public:
  Problem(const Gpu& gpu, int64_t rows, int64_t n)
      : gpu_(gpu),
        rows_(rows),
        n_(n),
        tensors_(rows, n),
        vectors_(test::Random<float>(4 * n, 2)),
        statistics_(std::vector<float>(2 * rows, 1.0f)),
        indices_(Indices(rows)),
        ids_(Ids(rows)),
        table_(RandomGpu(kVocabSize * n * sizeof(float))) {}

  int64_t sets() const { return tensors_.sets(); }

  std::vector<Case> Cases() {
    const Dropout dropout{0.1f, 12345, DropoutSite::kFfnOutput};
    const double size = sizeof(float16) * rows_ * n_;
    const auto& t = tensors_;
    const int64_t rows = rows_, n = n_;
    const int64_t row_bytes = n * sizeof(float16);
    const int64_t packed = rows / 4 * 3;
    const int64_t sentences = 64;
    const int64_t length = rows / sentences;
    float* const gamma = vectors_.data();
    float* const beta = gamma + n;
    float* const dgamma = beta + n;
    float* const dbeta = dgamma + n;
    const Moments moments{statistics_.data(), statistics_.data() + rows};
    const TokenRows tokens{rows, ids_.data(), nullptr};
    float* const table = static_cast<float*>(table_.get());
    std::vector<Case> cases = {
        {"copy by the driver", 2 * size,
         [=, &t](int64_t i) {
           CheckCuda(cudaMemcpyAsync(t.y(i), t.x(i), rows * row_bytes, cudaMemcpyDeviceToDevice,
                                     gpu_.stream));
         }},
        {"ApplyDropout", 2 * size,
         [=, &t](int64_t i) { ApplyDropout(gpu_, dropout, t.x(i), rows, n, t.y(i)); }},
        {"DropoutAdd", 3 * size,
         [=, &t](int64_t i) { DropoutAdd(gpu_, dropout, t.x(i), t.residual(i), rows, n, t.y(i)); }},
        {"DropoutAdd, rate 0", 3 * size,
         [=, &t](int64_t i) {
           DropoutAdd(gpu_, Dropout(), t.x(i), t.residual(i), rows, n, t.y(i));
         }},
        {"DropoutBiasGradient", 2 * size + 4.0 * n,
         [=, &t](int64_t i) {
           ColumnSums<Gpu> sums(gpu_);
           DropoutBiasGradient(gpu_, dropout, t.dy(i), rows, n, t.y(i), dgamma, &sums);
           sums.Finish();
         }},
        {"PreNormGradient", 4 * size + 8.0 * rows + 4.0 * n,
         [=, &t](int64_t i) {
           ColumnSums<Gpu> sums(gpu_);
           PreNormGradient<float16>(gpu_, t.x(i), gamma, beta, moments, dropout, t.dy(i), rows, n,
                                    t.y(i), t.residual(i), dgamma, &sums);
           sums.Finish();
         }},
        {"ReluDropoutGradient", 3 * size + 4.0 * n,
         [=, &t](int64_t i) {
           ColumnSums<Gpu> sums(gpu_);
           ReluDropoutGradient(gpu_, dropout, t.x(i), t.dy(i), rows, n, t.y(i), dgamma, &sums);
           sums.Finish();
         }},
        {"ColumnSum", size + 4.0 * n,
         [=, &t](int64_t i) {
           ColumnSums<Gpu> sums(gpu_);
           ColumnSum(gpu_, t.x(i), rows, n, dgamma, &sums);
           sums.Finish();
         }},
        {"AppendRows", 2 * size,
         [=, &t](int64_t i) {
           AppendRows<float16>(gpu_, t.x(i), sentences, length - 1, {t.dy(i), 3 * n}, 1, n, t.y(i));
         }},
        {"AppendRowsGradient", 3 * size,
         [=, &t](int64_t i) {
           AppendRowsGradient<float16>(gpu_, t.x(i), t.dy(i), sentences, length - 1, 1, n, t.y(i),
                                       {t.residual(i), 3 * n});
         }},
        {"PackRows, 3/4 of them", 2.0 * packed * row_bytes + 4.0 * packed,
         [=, &t](int64_t i) {
           PackRows(gpu_, t.x(i), rows, indices_.data(), packed, row_bytes, t.y(i));
         }},
        {"UnpackRows, 3/4 of them", size + 1.0 * packed * row_bytes + 4.0 * packed,
         [=, &t](int64_t i) {
           UnpackRows(gpu_, t.x(i), indices_.data(), packed, row_bytes, rows, t.y(i));
         }},
        {"LayerNorm", 2 * size + 8.0 * rows,
         [=, &t](int64_t i) {
           LayerNorm(gpu_, t.x(i), rows, n, gamma, beta, 1e-6f, t.y(i), moments);
         }},
        {"LayerNormGradient", 3 * size + 8.0 * rows,
         [=, &t](int64_t i) {
           LayerNormGradient<float16>(gpu_, t.dy(i), t.x(i), rows, n, gamma, moments, nullptr,
                                      t.y(i), dgamma, dbeta);
         }},
        {"LayerNormGradient, residual", 4 * size + 8.0 * rows,
         [=, &t](int64_t i) {
           LayerNormGradient<float16>(gpu_, t.dy(i), t.x(i), rows, n, gamma, moments, t.residual(i),
                                      t.y(i), dgamma, dbeta);
         }},
    };
    for (const Dropout& rate : {dropout, Dropout()}) {
      const std::string end = rate.active() ? "" : ", rate 0";
      cases.push_back({"Embed" + end, 3 * size + 4.0 * rows, [=, &t](int64_t i) {
                         Embed(gpu_, tokens, rate, 1.0f, table, nullptr, n, t.y(i));
                       }});
      cases.push_back({"EmbedTableGradient" + end, size + 4.0 * kVocabSize * n, [=, &t](int64_t i) {
                         EmbedTableGradient(gpu_, tokens, tokens.ids, rate, 1.0f, t.dy(i), n,
                                            kVocabSize, table);
                       }});
    }
    const std::pair<const char*, Activation> kinds[] = {{"relu", Activation::kRelu},
                                                        {"tanh", Activation::kTanh},
                                                        {"gelu", Activation::kGelu},
                                                        {"gelu (erf)", Activation::kGeluErf},
                                                        {"silu", Activation::kSilu}};
    for (const auto& named : kinds) {
      const Activation kind = named.second;
      cases.push_back(
          {std::string("ActivationDropout, ") + named.first, 2 * size, [=, &t](int64_t i) {
             ActivationDropout(gpu_, kind, dropout, t.x(i), rows, n, t.y(i));
           }});
      cases.push_back(
          {std::string("... gradient, ") + named.first, 4 * size + 4.0 * n, [=, &t](int64_t i) {
             ColumnSums<Gpu> sums(gpu_);
             ActivationDropoutGradient(gpu_, kind, dropout, t.x(i), t.dy(i), rows, n, t.y(i),
                                       t.residual(i), dgamma, &sums);
             sums.Finish();
           }});
    }
    return cases;
  }

 private:
  // Three of every four positions.
  static std::vector<int32_t> Indices(int64_t rows) {
    std::vector<int32_t> indices;
    for (int32_t i = 0; i < rows; ++i) {
      if (i % 4 != 3) indices.push_back(i);
    }
    return indices;
  }

  // The k-th most frequent word comes 1 / k as often as the first, as in a language.
  static std::vector<int32_t> Ids(int64_t rows) {
    std::vector<int32_t> ids;
    for (const float uniform : test::Random<float>(rows, 3, 0.5)) {
      ids.push_back(static_cast<int32_t>(std::pow(kVocabSize - 1.0, uniform + 0.5)));
    }
    return ids;
  }

  const Gpu& gpu_;
  const int64_t rows_;
  const int64_t n_;
  const Tensors tensors_;
  GpuNumbers<float> vectors_;
  GpuNumbers<float> statistics_;
  const GpuNumbers<int32_t> indices_;
  const GpuNumbers<int32_t> ids_;
  const GpuMemory table_;
};

// A step of Adam on the variables of a Transformer of the base size.
class AdamProblem {
 public:
  explicit AdamProblem(const Gpu& gpu) : gpu_(gpu), indices_(Indices()) {
    constexpr int64_t h = 512, f = 2048;
    const std::vector<int64_t> attention = {h, h, 3 * h * h, 3 * h, h * h, h};
    const std::vector<int64_t> cross = {h, h, h * h, h, 2 * h * h, 2 * h, h * h, h};
    const std::vector<int64_t> ffn = {h, h, h * f, f, f * h, h};
    std::vector<int64_t> sizes = {kRows * h, kRows * h};
    for (int layer = 0; layer < 12; ++layer) {
      sizes.insert(sizes.end(), attention.begin(), attention.end());
      if (layer >= 6) sizes.insert(sizes.end(), cross.begin(), cross.end());
      sizes.insert(sizes.end(), ffn.begin(), ffn.end());
    }
    for (const int64_t size : sizes) {
      total_ += size;
      AdamVariable variable = {};
      float** const targets[] = {&variable.variable, &variable.m, &variable.v};
      for (float** const target : targets) *target = New(size);
      variable.gradient = New(size);
      variable.size = size;
      variables_.push_back(variable);
    }
  }

  void Print(Benchmark* benchmark, double bytes_per_us) {
    const double all = 28.0 * total_;
    // The first table's gradient by rows instead.
    const double sparse = all + 4.0 * 512 * (kTokens - kRows);
    const double tokens = 4.0 * 512 * kTokens;
    const std::tuple<const char*, bool, bool, double> cases[] = {
        {"Adam", false, false, all},
        {"..., gradients read beforehand", true, false, all + 4.0 * total_},
        {"..., one of them sparse", false, true, sparse},
        {"..., both", true, true, sparse + 4.0 * (total_ - 512 * kRows) + tokens},
    };
    std::printf("%.1f M numbers in %zu variables, float32\n", total_ / 1e6, variables_.size());
    for (const auto& [name, beforehand, is_sparse, bytes] : cases) {
      AdamOptions options;
      options.skip_nonfinite = beforehand;
      std::vector<AdamVariable> variables = variables_;
      if (is_sparse) {
        variables[0].sparse = true;
        variables[0].indices = indices_.data();
        variables[0].row_count = kTokens;
        variables[0].row_size = 512;
      }
      const double us = benchmark->Time(1, [&](int64_t) {
        Adam(gpu_, options, variables, reinterpret_cast<bool*>(finite_.data()), norm_.data(),
             bad_row_.data());
      });
      std::printf("%-32s %8.1f us %6.0f GB/s %3.0f%%\n", name, us, bytes / us / 1e3,
                  100.0 * bytes / us / bytes_per_us);
    }
  }

 private:
  static constexpr int64_t kRows = 16000;   // of each table
  static constexpr int64_t kTokens = 4096;  // rows of a sparse gradient

  static std::vector<int64_t> Indices() {
    std::vector<int64_t> indices;
    for (int64_t i = 0; i < kTokens; ++i) indices.push_back(i * i % 7919 % kRows);
    return indices;
  }

  // Positive numbers, as moments of the second order are.
  float* New(int64_t size) {
    static const auto numbers = [] {
      auto numbers = test::Random<float>(int64_t{1} << 20, 1, 0.1);
      for (float& x : numbers) x = std::fabs(x);
      return numbers;
    }();
    memory_.push_back(AllocateGpu(size * sizeof(float)));
    float* const start = static_cast<float*>(memory_.back().get());
    for (int64_t i = 0; i < size; i += numbers.size()) {
      CheckCuda(cudaMemcpy(start + i, numbers.data(),
                           std::min<int64_t>(numbers.size(), size - i) * sizeof(float),
                           cudaMemcpyHostToDevice));
    }
    return start;
  }

  const Gpu& gpu_;
  int64_t total_ = 0;
  std::vector<GpuMemory> memory_;
  std::vector<AdamVariable> variables_;
  const GpuNumbers<int64_t> indices_;
  GpuNumbers<unsigned char> finite_{{0}};
  GpuNumbers<float> norm_{{0.0f}};
  GpuNumbers<int64_t> bad_row_{{0}};
};

// Labels for rows of a vocabulary, all of which count, and a loss for each.
class Labels {
 public:
  Labels(int64_t rows, int64_t vocab)
      : labels_(Spread(rows, vocab)),
        indices_(Spread(rows, rows)),
        weights_(std::vector<float>(rows, 1.0f)),
        gradients_(std::vector<float>(2 * rows, 0.5f)),
        losses_(std::vector<float>(4 * rows)),
        targets_{rows, vocab, labels_.data(), weights_.data(), 0.1f} {}

  const CrossEntropyTargets& targets() const { return targets_; }
  const int32_t* indices() const { return indices_.data(); }
  const float* dlosses() const { return gradients_.data(); }
  const float* dnlls() const { return gradients_.data() + targets_.rows; }
  float* losses() { return losses_.data(); }
  float* nlls() { return losses_.data() + targets_.rows; }
  float* statistics() { return losses_.data() + 2 * targets_.rows; }

 private:
  // i * 7919 modulo `below`: a permutation if that is `count`, and no multiple of this prime.
  static std::vector<int32_t> Spread(int64_t count, int64_t below) {
    std::vector<int32_t> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<int32_t>(i * 7919 % below));
    return values;
  }

  const GpuNumbers<int32_t> labels_, indices_;
  const GpuNumbers<float> weights_, gradients_;
  GpuNumbers<float> losses_;
  const CrossEntropyTargets targets_;
};

// Logits are many times the second-level cache.
void TimeCrossEntropy(Benchmark* benchmark, int64_t rows, int64_t vocab, double bytes_per_us) {
  const Gpu& gpu = benchmark->gpu();
  const double size = sizeof(float16) * rows * vocab;
  const GpuMemory memory = RandomGpu(2 * sizeof(float16) * rows * vocab);
  auto* const logits = static_cast<float16*>(memory.get());
  float16* const dlogits = logits + rows * vocab;
  Labels labels(rows, vocab);
  const auto forward = [&](int64_t) {
    CrossEntropy(gpu, labels.targets(), logits, labels.losses(), labels.nlls(),
                 labels.statistics());
  };
  const auto backward = [&](float16* to) {
    return [&, to](int64_t) {
      CrossEntropyGradient(gpu, labels.targets(), logits, labels.statistics(), labels.dlosses(),
                           labels.dnlls(), to);
    };
  };
  const Case cases[] = {{"CrossEntropy", size, forward},
                        {"CrossEntropyGradient", 2 * size, backward(dlogits)},
                        {"... in place", 2 * size, backward(logits)}};
  for (const Case& timed : cases) {
    const double us = benchmark->Time(1, timed.run);
    std::printf("%-30s  %lld x %lld  %8.2f us %3.0f%%\n", timed.name.c_str(),
                static_cast<long long>(rows), static_cast<long long>(vocab), us,
                100.0 * timed.bytes / us / bytes_per_us);
  }
}

void TimeProjectedCrossEntropy(Benchmark* benchmark, int64_t rows, int64_t hidden, int64_t vocab) {
  const Gpu& gpu = benchmark->gpu();
  Labels labels(rows, vocab);
  const GpuNumbers<float16> x(test::Random<float16>(rows * hidden, 1));
  const GpuNumbers<float> weights(test::Random<float>(vocab * hidden, 2, 0.1));
  const GpuNumbers<float> bias(test::Random<float>(vocab, 3));
  GpuNumbers<float> dx(test::Unwritten<float>(rows * hidden));
  GpuNumbers<float> dweights(test::Unwritten<float>(vocab * hidden));
  GpuNumbers<float> dbias(test::Unwritten<float>(vocab));
  GpuNumbers<float> sum(test::Unwritten<float>(1));
  const GpuNumbers<float> factor({1.0f});
  const OutputProjectionShape shape = {rows, hidden, vocab, rows, labels.indices()};
  const ProjectionGradient gradient = {nullptr, nullptr, dx.data(), dweights.data(), dbias.data()};
  const ProjectionGradient* const none = nullptr;
  for (const ProjectionGradient* wanted : {none, &gradient}) {
    const double us = benchmark->Time(1, [&](int64_t) {
      ProjectedCrossEntropy(gpu, shape, labels.targets(), x.data(), weights.data(), bias.data(),
                            labels.losses(), labels.nlls(), wanted);
    });
    const double flops = (wanted == nullptr ? 2.0 : 6.0) * rows * hidden * vocab;
    std::printf("%-30s  %lld x %lld x %lld  %8.2f us %4.0f TFLOP/s\n",
                wanted == nullptr ? "ProjectedCrossEntropy" : "... and gradient",
                static_cast<long long>(rows), static_cast<long long>(hidden),
                static_cast<long long>(vocab), us, flops / us / 1e6);
  }
  std::printf("%-30s  %lld  %8.2f us\n", "sum of the losses", static_cast<long long>(rows),
              benchmark->Time(1, [&](int64_t) {
                ColumnSums<Gpu> sums(gpu);
                ColumnSum(gpu, labels.losses(), rows, 1, sum.data(), &sums);
                sums.Finish();
              }));
  std::printf("%-30s  %lld x %lld  %8.2f us\n", "Scale", static_cast<long long>(vocab),
              static_cast<long long>(hidden), benchmark->Time(1, [&](int64_t) {
                Scale(gpu, dweights.data(), vocab * hidden, factor.data(), dweights.data());
              }));
}

void Run() {
  Benchmark benchmark;
  cudaDeviceProp properties;
  CheckCuda(cudaGetDeviceProperties(&properties, 0));
  constexpr int64_t kCopyBytes = int64_t{1} << 30;
  const GpuMemory from = RandomGpu(kCopyBytes);
  const GpuMemory to = AllocateGpu(kCopyBytes);
  const double copy_us = benchmark.Time(1, [&](int64_t) {
    CheckCuda(cudaMemcpyAsync(to.get(), from.get(), kCopyBytes, cudaMemcpyDeviceToDevice,
                              benchmark.gpu().stream));
  });
  const double bytes_per_us = 2.0 * kCopyBytes / copy_us;
  std::printf("%s, %d MiB of second-level cache; copying 1 GiB moves %.0f GB/s\n", properties.name,
              properties.l2CacheSize >> 20, bytes_per_us / 1e3);

  AdamProblem(benchmark.gpu()).Print(&benchmark, bytes_per_us);

  const std::pair<int64_t, int64_t> sizes[] = {{4096, 512}, {4096, 2048}, {8192, 1024}};
  std::vector<std::string> lines;
  std::string head = "float16                           ";
  for (const auto& size : sizes) {
    char cell[64];
    std::snprintf(
        cell, sizeof(cell), "%12s",
        (std::to_string(size.first) + "x" + std::to_string(size.second) + "    ").c_str());
    head += cell;
    Problem problem(benchmark.gpu(), size.first, size.second);
    const auto cases = problem.Cases();
    lines.resize(cases.size());
    for (size_t i = 0; i < cases.size(); ++i) {
      const double us = benchmark.Time(problem.sets(), cases[i].run);
      std::snprintf(cell, sizeof(cell), "%-30s", cases[i].name.c_str());
      if (lines[i].empty()) lines[i] = cell;
      std::snprintf(cell, sizeof(cell), "  %6.2f us %3.0f%%", us,
                    100.0 * cases[i].bytes / us / bytes_per_us);
      lines[i] += cell;
    }
  }
  std::printf("%s\n", head.c_str());
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());

  for (const int64_t vocab : {32000, 32001}) {
    TimeCrossEntropy(&benchmark, 4096, vocab, bytes_per_us);
  }
  for (const int64_t hidden : {512, 1024}) {
    TimeProjectedCrossEntropy(&benchmark, 4096, hidden, 32000);
  }
}

}  // namespace
}  // namespace tf_ls

int main() {
  tf_ls::Run();
  return 0;
}
