#ifndef TF_LS_CC_LAYERS_DECODER_STEP_H_
#define TF_LS_CC_LAYERS_DECODER_STEP_H_

#include <cstdint>
#include <vector>

#include "cc/kernels/append_rows.h"
#include "cc/kernels/attention.h"
#include "cc/layers/dense.h"
#include "cc/layers/ffn_block.h"
#include "cc/layers/residual.h"

namespace tf_ls {

// Sentences of equal length, one behind the other.
class EqualSentences {
 public:
  EqualSentences(int64_t count, int64_t length)
      : offsets_(count + 1), lengths_(count, length), count_(count) {
    for (int64_t i = 0; i <= count; ++i) offsets_[i] = i * length;
  }
  Sentences view() const { return {offsets_.data(), lengths_.data(), count_, offsets_.back()}; }

 private:
  std::vector<int32_t> offsets_;
  std::vector<int32_t> lengths_;
  const int64_t count_;
};

// Keys and values of cross-attention, projected once a sentence: [batch, length, H] each.
template <typename T>
struct ProjectedMemory {
  const T* keys;
  const T* values;
  int64_t length;
  const int32_t* lengths;  // [batch]: how many of them may be attended to
  int64_t lag;             // as in Memory
};

// A decoder layer on the next `added` positions of every sentence, given the keys and values of the
// positions before.
template <typename Device, typename T>
class DecoderStep {
 public:
  struct Cache {
    const T* keys;    // [batch, length, H]
    const T* values;  // [batch, length, H]
    int64_t length;
    T* new_keys;    // [batch, length + added, H]
    T* new_values;  // [batch, length + added, H]
  };

  // `weights` as in EncoderLayer, or with cross-attention (options.memory_size > 0) as in
  // DecoderLayer; its kv weights are not used.
  DecoderStep(const Device& device, const LayerOptions& options, int64_t batch, int64_t added,
              const float* const* weights)
      : device_(device), options_(options), batch_(batch), added_(added), weights_(weights) {}

  // x and y: [batch, added, H]. `memory` may be null.
  void Run(const T* x, const Cache& cache, const ProjectedMemory<T>* memory, T* y) const {
    const ArenaScope scope(device_.arena);
    const EqualSentences queries(batch_, added_);
    T* const after_self = New<T>(options_.hidden_size);
    SelfAttention(x, queries.view(), cache, after_self);
    const T* middle = after_self;
    const float* const* ffn_weights = weights_ + SelfAttentionWeights<const float*>::kCount;
    if (memory != nullptr) {
      T* const after_cross = New<T>(options_.hidden_size);
      CrossAttention(after_self, queries.view(), *memory,
                     CrossAttentionWeights<const float*>::From(ffn_weights), after_cross);
      middle = after_cross;
      ffn_weights += CrossAttentionWeights<const float*>::kCount;
    }
    using Ffn = FfnBlock<Device, T>;
    const auto saved = CutScratch<typename Ffn::Saved>();
    Ffn(device_, options_, rows(), FfnWeights<const float*>::From(ffn_weights))
        .Forward(middle, saved, y);
  }

 private:
  int64_t rows() const { return batch_ * added_; }

  template <typename U>
  U* New(int64_t columns) const {
    return device_.arena->template Allocate<U>(rows() * columns);
  }

  // What a block would save for backward, on scratch memory.
  template <typename Saved>
  Saved CutScratch() const {
    BufferCutter measure(nullptr);
    Saved::Cut(options_, rows(), &measure);
    BufferCutter cutter(device_.arena->template Allocate<unsigned char>(measure.used()));
    return Saved::Cut(options_, rows(), &cutter);
  }

  void SelfAttention(const T* x, const Sentences& queries, const Cache& cache, T* y) const {
    const auto weights = SelfAttentionWeights<const float*>::From(weights_);
    const int64_t n = options_.hidden_size;
    const EqualSentences keys(batch_, cache.length + added_);
    const AttentionShape shape{options_.num_heads, options_.head_size(), queries,
                               keys.view(),        /*causal=*/true,      kNoLag};
    using Block = Residual<Device, T>;
    const Block residual(device_, options_, weights.norm, DropoutSite::kSelfAttentionOutput,
                         rows());
    residual.Forward(x, CutScratch<typename Block::Saved>(), y, [&](const T* input, T* output) {
      T* const qkv = New<T>(3 * n);
      Dense(device_, weights.qkv, n, 3 * n, input, rows(), qkv);
      const auto part = [&](int64_t i) { return HeadRows<const T>{qkv + i * n, 3 * n}; };
      AppendRows(device_, cache.keys, batch_, cache.length, part(1), added_, n, cache.new_keys);
      AppendRows(device_, cache.values, batch_, cache.length, part(2), added_, n, cache.new_values);
      T* const context = New<T>(n);
      Attention<T>(device_, shape, Dropout(), part(0), {cache.new_keys, n}, {cache.new_values, n},
                   context, New<float>(options_.num_heads));
      Dense<Device, T>(device_, weights.out, n, n, context, rows(), output);
    });
  }

  void CrossAttention(const T* x, const Sentences& queries, const ProjectedMemory<T>& memory,
                      const CrossAttentionWeights<const float*>& weights, T* y) const {
    const int64_t n = options_.hidden_size;
    const EqualSentences all(batch_, memory.length);
    Sentences keys = all.view();
    keys.lengths = memory.lengths;
    const AttentionShape shape{
        options_.num_heads, options_.head_size(), queries, keys, /*causal=*/false, memory.lag};
    using Block = Residual<Device, T>;
    const Block residual(device_, options_, weights.norm, DropoutSite::kCrossAttentionOutput,
                         rows());
    residual.Forward(x, CutScratch<typename Block::Saved>(), y, [&](const T* input, T* output) {
      T* const q = New<T>(n);
      Dense(device_, weights.q, n, n, input, rows(), q);
      T* const context = New<T>(n);
      Attention<T>(device_, shape, Dropout(), {q, n}, {memory.keys, n}, {memory.values, n}, context,
                   New<float>(options_.num_heads));
      Dense<Device, T>(device_, weights.out, n, n, context, rows(), output);
    });
  }

  const Device& device_;
  const LayerOptions options_;
  const int64_t batch_;
  const int64_t added_;
  const float* const* const weights_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_DECODER_STEP_H_
