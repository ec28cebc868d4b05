// Generation without TensorFlow: a decoder that counts, searched by the loop of cc/ alone.
//
//     bazel run -c opt //examples/cpp:count -- 3 4
//     3 4 5 6 7 8 9
//
// A model is weights and structure; here the weights are written by hand. Of a word's embedding the
// layers, whose blocks add nothing, leave what it is, and the output layer takes the embedding of a
// word for the one that follows it. Nine ends a hypothesis.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/thread_pool.h"
#include "cc/decoding/generation_loop.h"
#include "cc/kernels/packed_weights.h"

namespace tf_ls {
namespace {

constexpr int64_t kWords = 10, kHidden = 16, kHeads = 4, kFilter = 32, kLayers = 2;
constexpr int32_t kLast = 9;

using Floats = std::vector<float>;

// A decoder-only model, weights and all.
struct CountingModel {
  CountingModel() : table(kWords * kHidden), output(kWords * kHidden) {
    for (int64_t word = 0; word < kWords; ++word) {
      table[word * kHidden + word] = 1.0f;
      if (word + 1 < kWords) output[(word + 1) * kHidden + word] = 10.0f;
    }
    LayerOptions options;
    options.hidden_size = kHidden;
    options.num_heads = kHeads;
    options.filter_size = kFilter;
    // In the order of cc/layers/weights.h; only gammas are not zero.
    for (const int64_t size :
         {kHidden, kHidden, kHidden * 3 * kHidden, 3 * kHidden, kHidden * kHidden, kHidden, kHidden,
          kHidden, kHidden * kFilter, kFilter, kFilter * kHidden, kHidden}) {
      const bool is_gamma = weights.empty() || weights.size() == 6;
      weights.emplace_back(size, is_gamma ? 1.0f : 0.0f);
    }
    for (const Floats& weight : weights) pointers.push_back(weight.data());
    model.embeddings = table.data();
    model.embedding_scale = 1.0f;
    model.positions = nullptr;
    model.layers.assign(kLayers, {options, pointers.data()});
    model.norm = {nullptr, nullptr};
    model.epsilon = options.epsilon;
    model.output = {output.data(), nullptr, kHidden, kWords};
  }

  // The matrices that products read in every step.
  std::vector<WeightPiece> Matrices() const {
    return {{pointers[2], kHidden, 3 * kHidden},
            {pointers[4], kHidden, kHidden},
            {pointers[8], kHidden, kFilter},
            {pointers[10], kFilter, kHidden},
            {output.data(), kWords, kHidden, /*transposed=*/true}};
  }

  Floats table, output;
  std::vector<Floats> weights;  // the same of every layer
  std::vector<const float*> pointers;
  GenerationModel model;
};

int Run(const std::vector<int32_t>& prompt) {
  const CountingModel counting;
  ThreadPool threads(static_cast<int>(std::thread::hardware_concurrency()));
  HeapArena scratch, lasting, host;
  PackedWeights packed;
  const Cpu cpu = {&threads, &scratch, &packed};
  const std::vector<WeightPiece> matrices = counting.Matrices();
  auto* const memory =
      lasting.Allocate<unsigned char>(PlacePacked<float>(matrices, nullptr, nullptr));
  PackWeights<float>(cpu, matrices, memory);
  PlacePacked<float>(matrices, memory, &packed);

  GenerationOptions options;
  options.search.eos = kLast;
  options.search.beam_size = 2;
  options.search.max_length = kWords;
  // The first word of the prompt is what a hypothesis starts behind, and no part of it.
  const std::vector<SentenceStart> sentences = {
      {prompt[0], {prompt.begin() + 1, prompt.end()}, /*source_length=*/-1}};
  const auto found = Generate<Cpu, float>(cpu, counting.model, {nullptr, 0, 0, nullptr}, sentences,
                                          options, {&lasting, &host}, [] { return false; });
  std::printf("%d", prompt[0]);
  for (const int32_t word : found[0][0].tokens) std::printf(" %d", word);
  std::printf("\n");
  return 0;
}

}  // namespace
}  // namespace tf_ls

int main(int argc, char** argv) {
  std::vector<int32_t> prompt;
  for (int i = 1; i < argc; ++i) prompt.push_back(std::atoi(argv[i]));
  if (prompt.empty()) prompt = {3, 4};
  for (const int32_t word : prompt) {
    if (word >= 0 && word < tf_ls::kLast) continue;
    std::fprintf(stderr, "expected words from 0 to %d, got %d\n", tf_ls::kLast - 1, word);
    return 2;
  }
  return tf_ls::Run(prompt);
}
