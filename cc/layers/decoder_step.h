#ifndef TF_LS_CC_LAYERS_DECODER_STEP_H_
#define TF_LS_CC_LAYERS_DECODER_STEP_H_

#include <cstdint>
#include <optional>

#include "cc/layers/cached_attention_block.h"
#include "cc/layers/ffn_block.h"
#include "cc/layers/projected_attention_block.h"

namespace tf_ls {

// A decoder layer on the next `added` positions of every sentence, behind `cached` positions whose
// keys and values are known. Without dropout.
template <typename Device, typename T>
class DecoderStep {
 public:
  // `memory` may be null: no cross-attention. `weights` as in EncoderLayer, or with cross-attention
  // (options.memory_size > 0) as in DecoderLayer; its kv weights are not used.
  DecoderStep(const Device& device, const LayerOptions& options, int64_t batch, int64_t cached,
              int64_t added, const ProjectedMemory<T>* memory, const float* const* weights)
      : device_(device),
        options_(options),
        rows_(batch * added),
        all_rows_(batch * (cached + added)),
        ffn_start_(kCrossStart +
                   (memory == nullptr ? 0 : CrossAttentionWeights<const float*>::kCount)),
        self_attention_(device, options_, batch, cached, added,
                        SelfAttentionWeights<const float*>::From(weights)),
        ffn_(device, options_, rows_, FfnWeights<const float*>::From(weights + ffn_start_)) {
    if (memory != nullptr) {
      cross_attention_.emplace(device, options_, batch, added, *memory,
                               CrossAttentionWeights<const float*>::From(weights + kCrossStart));
    }
  }
  DecoderStep(const DecoderStep&) = delete;
  DecoderStep& operator=(const DecoderStep&) = delete;

  // x and y: [batch, added, H]. `cache`: of `cached` positions; `all`, which is written: of those
  // and the added ones.
  void Forward(const T* x, KeysAndValues<const T*> cache, KeysAndValues<T*> all, T* y) const {
    const ArenaScope scope(device_.arena);
    Run(x, cache, CutBlocks(), all, y);
  }

  // Makes Forward again, for nothing is kept of it. `dall`: what comes back to `all` from later
  // steps. All that `dcache`, `dmemory` (if there is a memory) and `gradient` point to is written.
  void Backward(const T* x, KeysAndValues<const T*> cache, const T* dy,
                KeysAndValues<const T*> dall, T* dx, KeysAndValues<T*> dcache,
                KeysAndValues<T*> dmemory, float* const* gradient) const {
    const ArenaScope scope(device_.arena);
    const Saved saved = CutBlocks();
    const KeysAndValues<T*> all = {New(all_rows_), New(all_rows_)};
    Run(x, cache, saved, all, New(rows_));
    ffn_.Backward(saved.after_cross, saved.ffn, dy, dx,
                  FfnWeights<float*>::From(gradient + ffn_start_));
    if (cross_attention_) {
      cross_attention_->Backward(saved.after_self, saved.cross_attention, dx, dx, dmemory,
                                 CrossAttentionWeights<float*>::From(gradient + kCrossStart));
    }
    self_attention_.Backward(x, {all.keys, all.values}, saved.self_attention, dx, dall, dx, dcache,
                             SelfAttentionWeights<float*>::From(gradient));
  }

 private:
  using SelfAttention = CachedAttentionBlock<Device, T>;
  using CrossAttention = ProjectedAttentionBlock<Device, T>;
  using Ffn = FfnBlock<Device, T>;

  static constexpr int kCrossStart = SelfAttentionWeights<float*>::kCount;

  struct Saved {
    typename SelfAttention::Saved self_attention;
    T* after_self;  // [rows, H]
    typename CrossAttention::Saved cross_attention;
    T* after_cross;  // [rows, H]; after_self without cross-attention
    typename Ffn::Saved ffn;
  };

  T* New(int64_t rows) const {
    return device_.arena->template Allocate<T>(rows * options_.hidden_size);
  }

  template <typename BlockSaved>
  BlockSaved CutBlock() const {
    return CutSaved<BlockSaved>(device_.arena, options_, rows_);
  }

  Saved CutBlocks() const {
    Saved saved;
    saved.self_attention = CutBlock<typename SelfAttention::Saved>();
    saved.after_self = New(rows_);
    saved.after_cross = saved.after_self;
    if (cross_attention_) {
      saved.cross_attention = CutBlock<typename CrossAttention::Saved>();
      saved.after_cross = New(rows_);
    }
    saved.ffn = CutBlock<typename Ffn::Saved>();
    return saved;
  }

  void Run(const T* x, KeysAndValues<const T*> cache, const Saved& saved, KeysAndValues<T*> all,
           T* y) const {
    self_attention_.Forward(x, cache, saved.self_attention, all, saved.after_self);
    if (cross_attention_) {
      cross_attention_->Forward(saved.after_self, saved.cross_attention, saved.after_cross);
    }
    ffn_.Forward(saved.after_cross, saved.ffn, y);
  }

  const Device& device_;
  const LayerOptions options_;
  const int64_t rows_;
  const int64_t all_rows_;
  const int ffn_start_;
  const SelfAttention self_attention_;
  std::optional<CrossAttention> cross_attention_;
  const Ffn ffn_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_DECODER_STEP_H_
