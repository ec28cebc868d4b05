// Times generation behind prompts on the CPU: a decoder of the size of the smallest GPT-2 with
// random weights, without TensorFlow.
//
//     prompt_benchmark [THREADS [float32|bfloat16|int8 [ROUNDS]]]
//
// prints for each cell the milliseconds until a prompt is read, those of 32 tokens behind it, and
// those of as many tokens in all without a prompt, a step of the model for each. The least of all
// rounds; with one thread it is the thread's own time that counts.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/thread_pool.h"
#include "cc/decoding/generation_loop.h"
#include "cc/kernels/packed_weights.h"
#include "cc/testing/cpu_benchmark.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::AlignedMemory;
using test::Random;

constexpr int64_t kLayers = 12, kHidden = 768, kHeads = 12, kFilter = 3072, kVocab = 50257;
constexpr int kGenerated = 32, kLongestPrompt = 128;

struct Matrix {
  int index;  // among the layer's weights
  int64_t inputs, outputs;
};
constexpr Matrix kMatrices[] = {{2, kHidden, 3 * kHidden},
                                {4, kHidden, kHidden},
                                {8, kHidden, kFilter},
                                {10, kFilter, kHidden}};

// The decoder, packed for rows of T.
template <typename T>
class Model {
 public:
  Model(const Cpu& cpu, bool int8) {
    LayerOptions options;
    options.hidden_size = kHidden;
    options.num_heads = kHeads;
    options.filter_size = kFilter;
    options.activation = Activation::kGelu;
    options.causal = true;
    for (int64_t i = 0; i < kLayers; ++i) {
      pointers_.emplace_back();
      for (const int64_t size :
           {kHidden, kHidden, kHidden * 3 * kHidden, 3 * kHidden, kHidden * kHidden, kHidden,
            kHidden, kHidden, kHidden * kFilter, kFilter, kFilter * kHidden, kHidden}) {
        tensors_.push_back(Random<float>(size, static_cast<uint32_t>(tensors_.size()), 0.05));
        pointers_.back().push_back(tensors_.back().data());
      }
    }
    std::vector<WeightPiece> pieces;
    for (const auto& pointers : pointers_) {
      view_.layers.push_back({options, pointers.data()});
      for (const Matrix& matrix : kMatrices) {
        pieces.push_back({pointers[matrix.index], matrix.inputs, matrix.outputs});
      }
    }
    pieces.push_back({table_.data(), kVocab, kHidden, /*transposed=*/true});
    const auto place = [&](const void* memory, PackedWeights* packed) {
      return int8 ? PlaceInt8(pieces, memory, packed) : PlacePacked<T>(pieces, memory, packed);
    };
    memory_ = std::make_unique<AlignedMemory>(place(nullptr, nullptr));
    if (int8) {
      PackInt8(cpu, pieces, memory_->start());
    } else {
      PackWeights<T>(cpu, pieces, memory_->start());
    }
    place(memory_->start(), &packed_);
    view_.embeddings = table_.data();
    view_.embedding_scale = 1.0f;
    view_.positions = positions_.data();
    view_.norm = {norm_.data(), norm_.data() + kHidden};
    view_.epsilon = 1e-5f;
    view_.output = {table_.data(), nullptr, kHidden, kVocab};
  }

  const GenerationModel& view() const { return view_; }
  const PackedWeights& packed() const { return packed_; }

 private:
  std::vector<std::vector<float>> tensors_;
  std::vector<std::vector<const float*>> pointers_;
  const std::vector<float> table_ = Random<float>(kVocab * kHidden, 1001, 0.05);
  const std::vector<float> positions_ =
      Random<float>((kLongestPrompt + kGenerated) * kHidden, 1002, 0.05);
  const std::vector<float> norm_ = Random<float>(2 * kHidden, 1003);
  std::unique_ptr<AlignedMemory> memory_;
  PackedWeights packed_;
  GenerationModel view_;
};

// Milliseconds of a greedy generation of `length` tokens, of which a prompt is a part.
template <typename T>
double Run(const Cpu& cpu, const Model<T>& model, int64_t batch, int prompt, int length) {
  GenerationOptions options;
  options.search.eos = -1;  // which never comes
  options.search.beam_size = 1;
  options.search.max_length = length;
  options.search.max_extra_length = kNoExtraLength;
  std::vector<SentenceStart> sentences(batch);
  for (int64_t i = 0; i < batch; ++i) {
    sentences[i] = {0, {}, -1};
    for (int j = 0; j < prompt; ++j) {
      sentences[i].prefix.push_back(static_cast<int32_t>((i * 7919 + j * 104729) % kVocab));
    }
  }
  test::StackArena lasting;
  const double start = test::Seconds();
  Generate<Cpu, T>(cpu, model.view(), {nullptr, 0, 0, nullptr}, sentences, options,
                   {&lasting, &lasting}, [] { return false; });
  return (test::Seconds() - start) * 1e3;
}

template <typename T>
void RunCells(const std::string& type, int thread_count, int rounds) {
  ThreadPool threads(thread_count);
  test::StackArena arena;
  const Cpu plain = {&threads, &arena};
  const Model<T> model(plain, type == "int8");
  Cpu cpu = plain;
  cpu.packed_weights = &model.packed();
  std::printf(
      "%s\n\n| batch | prompt | reading it | then %d tokens | token by token |\n"
      "|---|---|---|---|---|\n",
      type.c_str(), kGenerated);
  for (const int64_t batch : {1, 8}) {
    for (const int prompt : {16, kLongestPrompt}) {
      double read, all, steps;
      read = all = steps = std::numeric_limits<double>::infinity();
      for (int i = 0; i < rounds; ++i) {
        read = std::min(read, Run(cpu, model, batch, prompt, prompt));
        all = std::min(all, Run(cpu, model, batch, prompt, prompt + kGenerated));
        steps = std::min(steps, Run(cpu, model, batch, 0, prompt + kGenerated));
      }
      std::printf("| %ld | %d | %.0f | %.0f | %.0f |\n", static_cast<long>(batch), prompt, read,
                  all - read, steps);
      std::fflush(stdout);
    }
  }
  std::printf("\n");
}

}  // namespace
}  // namespace tf_ls

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const std::string type = argc > 2 ? argv[2] : "";
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 2;
  const std::set<std::string> types = {"", "float32", "bfloat16", "int8"};
  if (threads < 1 || rounds < 1 || types.count(type) == 0) {
    std::fprintf(stderr, "prompt_benchmark [THREADS [float32|bfloat16|int8 [ROUNDS]]]\n");
    return 1;
  }
  tf_ls::test::count_own_time = threads == 1;
  for (const std::string each : {"float32", "bfloat16", "int8"}) {
    if (!type.empty() && type != each) continue;
    if (each == "bfloat16") {
      tf_ls::RunCells<tf_ls::bfloat16>(each, threads, rounds);
    } else {
      tf_ls::RunCells<float>(each, threads, rounds);
    }
  }
}
