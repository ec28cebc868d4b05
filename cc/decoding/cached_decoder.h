#ifndef TF_LS_CC_DECODING_CACHED_DECODER_H_
#define TF_LS_CC_DECODING_CACHED_DECODER_H_

#include <cstdint>
#include <vector>

#include "cc/decoding/generation_layer.h"
#include "cc/decoding/generation_model.h"
#include "cc/kernels/host_copy.h"
#include "cc/kernels/token_rows.h"
#include "cc/layers/embed_tokens.h"
#include "cc/layers/normalize.h"

namespace tf_ls {

// A model up to its last norm that remembers what it has read: each layer's keys and values of
// tokens, and those of the memory.
template <typename Device, typename T>
class CachedDecoder {
 public:
  // With caches of so many slots of so many positions. What lasts as long as this does comes from
  // `lasting`, of the device's memory. The model must outlive it.
  CachedDecoder(const Device& device, const GenerationModel& model,
                const GenerationMemory<T>& memory, int64_t slots, int64_t max_length,
                Arena* lasting)
      : device_(device), model_(model), memory_length_(memory.length), max_length_(max_length) {
    const int64_t n = model.hidden_size(), cached = slots * max_length * n;
    for (const GenerationModel::Layer& layer : model.layers) {
      layers_.emplace_back(device, layer.options, layer.weights);
      caches_.push_back({lasting->Allocate<T>(cached), lasting->Allocate<T>(cached)});
    }
    if (!model.HasMemory()) return;
    int32_t* const lengths = lasting->Allocate<int32_t>(memory.sentences);
    CopyToDevice(device, memory.lengths, memory.sentences * sizeof(int32_t), lengths);
    memory_lengths_ = lengths;
    const int64_t memory_rows = memory.sentences * memory.length;
    for (const auto& layer : layers_) {
      T* const projected = lasting->Allocate<T>(memory_rows * 2 * n);
      layer.ProjectMemory(memory.rows, memory_rows, projected);
      projected_.push_back(projected);
    }
  }
  CachedDecoder(const CachedDecoder&) = delete;
  CachedDecoder& operator=(const CachedDecoder&) = delete;

  // Reads a token of each row, of the sentence sentence_of[row]; `past` as in GenerationLayer.
  // Returns hidden states [rows, H] as the output layer takes them, in x or in the arena. Attention
  // to the memory [rows, memory length], of the last layer, unless that is null, is its mean over
  // the heads. All pointers are to the device's memory.
  template <typename Past>
  const T* Read(const TokenRows& tokens, const Past& past, const int32_t* sentence_of, T* x,
                float* attention) const {
    const int64_t n = model_.hidden_size();
    EmbedTokens<Device, T>(device_, model_, tokens, x);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const bool is_last = i + 1 == layers_.size();
      layers_[i].Forward(tokens.count, past, Cache(i), {sentence_of, memory_lengths_},
                         MemoryCache(i), x, {is_last ? attention : nullptr, memory_length_});
    }
    if (model_.norm.gamma == nullptr) return x;
    T* const normalized = device_.arena->template Allocate<T>(tokens.count * n);
    Normalize<Device, T>(device_, model_.norm, model_.epsilon, x, tokens.count, n, normalized);
    return normalized;
  }

  const OutputLayer& output() const { return model_.output; }
  int64_t hidden_size() const { return model_.hidden_size(); }

 private:
  using Layer = GenerationLayer<Device, T>;

  typename Layer::GrowingCache Cache(size_t i) const {
    const LayerOptions& options = model_.layers[i].options;
    const auto grows = [&](T* data) {
      return GrowingSlots(data, options.num_heads, max_length_, options.head_size());
    };
    return {grows(caches_[i].keys), grows(caches_[i].values)};
  }

  typename Layer::MemoryCache MemoryCache(size_t i) const {
    if (!model_.HasMemory()) return {};
    const LayerOptions& options = model_.layers[i].options;
    const int64_t n = options.hidden_size, size = options.head_size();
    return {MemorySlots(projected_[i], memory_length_, 2 * n, size),
            MemorySlots(projected_[i] + n, memory_length_, 2 * n, size)};
  }

  const Device& device_;
  const GenerationModel& model_;
  const int64_t memory_length_;
  const int64_t max_length_;
  std::vector<Layer> layers_;
  std::vector<KeyValueCache<T*>> caches_;
  std::vector<const T*> projected_;  // for each layer, keys and values of the memory
  const int32_t* memory_lengths_ = nullptr;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_CACHED_DECODER_H_
