#ifndef TF_LS_CC_DECODING_GENERATION_LAYER_H_
#define TF_LS_CC_DECODING_GENERATION_LAYER_H_

#include <cstdint>

#include "cc/kernels/activation.h"
#include "cc/kernels/attention.h"
#include "cc/kernels/cached_attention.h"
#include "cc/kernels/store_rows.h"
#include "cc/layers/dense.h"
#include "cc/layers/layer_options.h"
#include "cc/layers/normalize.h"

namespace tf_ls {

// Keys and values that stay where they were written.
template <typename P>
struct KeyValueCache {
  P keys;
  P values;
};

// Rows that are whole beginnings of sentences, of which nothing is in the caches yet.
struct Beginnings {
  Sentences sentences;
  CachePlaces places;  // of the sentences' rows; there may be more rows, which belong to none
};

// A decoder layer inside the generation loop: one new position of each row, which is a beam of a
// sentence, or many positions of sentences that begin. Without dropout. The keys and values of
// positions before lie where the paths of beams lead, those of the source are shared by a
// sentence's beams.
template <typename Device, typename T>
class GenerationLayer {
 public:
  using GrowingCache = KeyValueCache<HeadSlots<T>>;
  using MemoryCache = KeyValueCache<HeadSlots<const T>>;

  // `weights` as in DecoderLayer, or without cross-attention (options.memory_size is 0) as in
  // EncoderLayer.
  GenerationLayer(const Device& device, const LayerOptions& options, const float* const* weights)
      : device_(device),
        options_(options),
        self_attention_(SelfAttentionWeights<const float*>::From(weights)),
        weights_(weights) {}

  // What cross-attention reads of a memory [rows, memory_size]: kv [rows, 2H], keys and values side
  // by side.
  void ProjectMemory(const T* memory, int64_t rows, T* kv) const {
    Dense(device_, CrossAttention().kv, options_.memory_size, 2 * options_.hidden_size, memory,
          rows, kv);
  }

  // x: [rows, H], which becomes the layer's output. Writes the new positions' keys and values into
  // `cache`: where `past` is BeamPaths, at the ends of the paths; where it is Beginnings, to their
  // places. `sentences` and `memory` are not read without cross-attention, whose weights go to
  // `mean_weights`, averaged over the heads.
  template <typename Past>
  void Forward(int64_t rows, const Past& past, const GrowingCache& cache,
               const SentenceMemory& sentences, const MemoryCache& memory, T* x,
               const MeanWeights& mean_weights = {}) const {
    const ArenaScope scope(device_.arena);
    const int64_t n = options_.hidden_size;
    T* const projected = New(rows * 3 * n);
    T* const context = New(rows * n);
    AddBlock(self_attention_.norm, rows, x, [&](const T* input) {
      Dense(device_, self_attention_.qkv, n, 3 * n, input, rows, projected);
      Attend(rows, past, {projected, 3 * n}, {projected + n, 3 * n}, {projected + 2 * n, 3 * n},
             cache, context);
      AddDense<Device, T>(device_, self_attention_.out, n, n, context, rows, x);
    });
    if (HasMemory()) {
      const auto cross_attention = CrossAttention();
      AddBlock(cross_attention.norm, rows, x, [&](const T* input) {
        Dense(device_, cross_attention.q, n, n, input, rows, projected);
        CachedCrossAttention<T>(device_, Shape(rows), sentences, {projected, n}, memory.keys,
                                memory.values, context, mean_weights);
        AddDense<Device, T>(device_, cross_attention.out, n, n, context, rows, x);
      });
    }
    const auto ffn = FfnWeights<const float*>::From(weights_ + FfnStart());
    AddBlock(ffn.norm, rows, x, [&](const T* input) {
      T* const inner = New(rows * options_.filter_size);
      Dense(device_, ffn.dense1, n, options_.filter_size, input, rows, inner);
      ActivationDropout<T>(device_, options_.activation, Dropout(), inner, rows,
                           options_.filter_size, inner);
      AddDense<Device, T>(device_, ffn.dense2, options_.filter_size, n, inner, rows, x);
    });
  }

 private:
  static constexpr int kCrossStart = SelfAttentionWeights<const float*>::kCount;

  bool HasMemory() const { return options_.memory_size > 0; }
  int FfnStart() const {
    return kCrossStart + (HasMemory() ? CrossAttentionWeights<const float*>::kCount : 0);
  }
  CrossAttentionWeights<const float*> CrossAttention() const {
    return CrossAttentionWeights<const float*>::From(weights_ + kCrossStart);
  }
  T* New(int64_t count) const { return device_.arena->template Allocate<T>(count); }
  CachedAttentionShape Shape(int64_t rows) const {
    return {rows, options_.num_heads, options_.head_size()};
  }

  void Attend(int64_t rows, const BeamPaths& paths, HeadRows<const T> q, HeadRows<const T> k,
              HeadRows<const T> v, const GrowingCache& cache, T* out) const {
    CachedSelfAttention<T>(device_, Shape(rows), paths, q, k, v, cache.keys, cache.values, out);
  }

  void Attend(int64_t rows, const Beginnings& beginnings, HeadRows<const T> q, HeadRows<const T> k,
              HeadRows<const T> v, const GrowingCache& cache, T* out) const {
    const ArenaScope scope(device_.arena);
    const int64_t heads = options_.num_heads, size = options_.head_size();
    StoreRows<T>(device_, beginnings.places, heads, size, k, cache.keys);
    StoreRows<T>(device_, beginnings.places, heads, size, v, cache.values);
    float* const log_sums = device_.arena->template Allocate<float>(rows * heads);
    Attention<T>(device_,
                 {heads, size, beginnings.sentences, beginnings.sentences, /*causal=*/true, kNoLag},
                 Dropout(), q, k, v, out, log_sums);
  }

  // Norm and residual connection around a block: `add(input)` adds what the block makes of its
  // input to x, in its last product, as long as sums are float32.
  //   pre-norm:  x = x + f(norm(x))
  //   post-norm: x = norm(x + f(x))
  template <typename Add>
  void AddBlock(LayerNormWeights<const float*> norm, int64_t rows, T* x, const Add& add) const {
    const ArenaScope scope(device_.arena);
    const int64_t n = options_.hidden_size;
    if (options_.pre_norm) {
      T* const normalized = New(rows * n);
      Normalize<Device, T>(device_, norm, options_.epsilon, x, rows, n, normalized);
      add(normalized);
    } else {
      add(x);
      Normalize<Device, T>(device_, norm, options_.epsilon, x, rows, n, x);
    }
  }

  const Device& device_;
  const LayerOptions options_;
  const SelfAttentionWeights<const float*> self_attention_;
  const float* const* const weights_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_GENERATION_LAYER_H_
