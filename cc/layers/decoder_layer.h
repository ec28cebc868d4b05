#ifndef TF_LS_CC_LAYERS_DECODER_LAYER_H_
#define TF_LS_CC_LAYERS_DECODER_LAYER_H_

#include <cstdint>

#include "cc/layers/cross_attention_block.h"
#include "cc/layers/ffn_block.h"
#include "cc/layers/self_attention_block.h"

namespace tf_ls {

// A Transformer decoder layer over the rows of target sentences: self-attention, attention over the
// memory (the encoder's output), then the feed-forward network.
template <typename Device, typename T>
class DecoderLayer {
 public:
  static constexpr int kWeightCount = SelfAttentionWeights<float*>::kCount +
                                      CrossAttentionWeights<float*>::kCount +
                                      FfnWeights<float*>::kCount;

  // `weights` points to kWeightCount pointers: of SelfAttentionWeights, CrossAttentionWeights,
  // FfnWeights.
  DecoderLayer(const Device& device, const LayerOptions& options, const Sentences& sentences,
               const Memory<T>& memory, const float* const* weights)
      : options_(options),
        rows_(sentences.rows),
        memory_rows_(memory.sentences.rows),
        self_attention_(device, options_, sentences,
                        SelfAttentionWeights<const float*>::From(weights)),
        cross_attention_(device, options_, sentences, memory,
                         CrossAttentionWeights<const float*>::From(weights + kCrossStart)),
        ffn_(device, options_, rows_, FfnWeights<const float*>::From(weights + kFfnStart)) {}
  DecoderLayer(const DecoderLayer&) = delete;
  DecoderLayer& operator=(const DecoderLayer&) = delete;

  // Bytes that Forward fills for Backward.
  size_t ReserveBytes() const {
    BufferCutter measure(nullptr);
    Cut(&measure);
    return measure.used();
  }

  // x and y: [rows, H].
  void Forward(const T* x, void* reserve, T* y) const {
    BufferCutter cutter(reserve);
    const Saved saved = Cut(&cutter);
    self_attention_.Forward(x, saved.self_attention, saved.after_self);
    cross_attention_.Forward(saved.after_self, saved.cross_attention, saved.after_cross);
    ffn_.Forward(saved.after_cross, saved.ffn, y);
  }

  // dmemory: [memory rows, memory_size]. `gradient` points to kWeightCount pointers, all of which
  // are written.
  void Backward(const T* x, const void* reserve, const T* dy, T* dx, T* dmemory,
                float* const* gradient) const {
    BufferCutter cutter(const_cast<void*>(reserve));
    const Saved saved = Cut(&cutter);
    ffn_.Backward(saved.after_cross, saved.ffn, dy, dx,
                  FfnWeights<float*>::From(gradient + kFfnStart));
    cross_attention_.Backward(saved.after_self, saved.cross_attention, dx, dx, dmemory,
                              CrossAttentionWeights<float*>::From(gradient + kCrossStart));
    self_attention_.Backward(x, saved.self_attention, dx, dx,
                             SelfAttentionWeights<float*>::From(gradient));
  }

 private:
  static constexpr int kCrossStart = SelfAttentionWeights<float*>::kCount;
  static constexpr int kFfnStart = kCrossStart + CrossAttentionWeights<float*>::kCount;

  struct Saved {
    typename SelfAttentionBlock<Device, T>::Saved self_attention;
    T* after_self;  // [rows, H]
    typename CrossAttentionBlock<Device, T>::Saved cross_attention;
    T* after_cross;  // [rows, H]
    typename FfnBlock<Device, T>::Saved ffn;
  };

  Saved Cut(BufferCutter* reserve) const {
    Saved saved;
    saved.self_attention = SelfAttentionBlock<Device, T>::Saved::Cut(options_, rows_, reserve);
    saved.after_self = reserve->Cut<T>(rows_ * options_.hidden_size);
    saved.cross_attention =
        CrossAttentionBlock<Device, T>::Saved::Cut(options_, rows_, memory_rows_, reserve);
    saved.after_cross = reserve->Cut<T>(rows_ * options_.hidden_size);
    saved.ffn = FfnBlock<Device, T>::Saved::Cut(options_, rows_, reserve);
    return saved;
  }

  const LayerOptions options_;
  const int64_t rows_;
  const int64_t memory_rows_;
  const SelfAttentionBlock<Device, T> self_attention_;
  const CrossAttentionBlock<Device, T> cross_attention_;
  const FfnBlock<Device, T> ffn_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_DECODER_LAYER_H_
