#ifndef TF_LS_CC_LAYERS_ENCODER_LAYER_H_
#define TF_LS_CC_LAYERS_ENCODER_LAYER_H_

#include <cstdint>

#include "cc/layers/ffn_block.h"
#include "cc/layers/self_attention_block.h"

namespace tf_ls {

// A Transformer encoder layer over the rows of sentences: self-attention, then the feed-forward
// network. Also a decoder layer without cross-attention, when causal.
template <typename Device, typename T>
class EncoderLayer {
 public:
  static constexpr int kWeightCount =
      SelfAttentionWeights<float*>::kCount + FfnWeights<float*>::kCount;

  // `weights` points to kWeightCount pointers: those of SelfAttentionWeights, then those of
  // FfnWeights.
  EncoderLayer(const Device& device, const LayerOptions& options, const Sentences& sentences,
               const float* const* weights)
      : options_(options),
        rows_(sentences.rows),
        self_attention_(device, options_, sentences,
                        SelfAttentionWeights<const float*>::From(weights)),
        ffn_(device, options_, rows_,
             FfnWeights<const float*>::From(weights + SelfAttentionWeights<const float*>::kCount)) {
  }
  EncoderLayer(const EncoderLayer&) = delete;
  EncoderLayer& operator=(const EncoderLayer&) = delete;

  // Bytes that Forward fills for Backward.
  size_t ReserveBytes() const {
    BufferCutter measure(nullptr);
    Saved::Cut(options_, rows_, &measure);
    return measure.used();
  }

  // x and y: [rows, H].
  void Forward(const T* x, void* reserve, T* y) const {
    const Saved saved = CutReserve(reserve);
    self_attention_.Forward(x, saved.self_attention, saved.middle);
    ffn_.Forward(saved.middle, saved.ffn, y);
  }

  // `gradient` points to kWeightCount pointers, all of which are written.
  void Backward(const T* x, const void* reserve, const T* dy, T* dx, float* const* gradient) const {
    const Saved saved = CutReserve(const_cast<void*>(reserve));
    ffn_.Backward(saved.middle, saved.ffn, dy, dx,
                  FfnWeights<float*>::From(gradient + SelfAttentionWeights<float*>::kCount));
    self_attention_.Backward(x, saved.self_attention, dx, dx,
                             SelfAttentionWeights<float*>::From(gradient));
  }

 private:
  struct Saved {
    typename SelfAttentionBlock<Device, T>::Saved self_attention;
    T* middle;  // [rows, H]: between the blocks
    typename FfnBlock<Device, T>::Saved ffn;

    static Saved Cut(const LayerOptions& options, int64_t rows, BufferCutter* reserve) {
      Saved saved;
      saved.self_attention = SelfAttentionBlock<Device, T>::Saved::Cut(options, rows, reserve);
      saved.middle = reserve->Cut<T>(rows * options.hidden_size);
      saved.ffn = FfnBlock<Device, T>::Saved::Cut(options, rows, reserve);
      return saved;
    }
  };

  Saved CutReserve(void* reserve) const {
    BufferCutter cutter(reserve);
    return Saved::Cut(options_, rows_, &cutter);
  }

  const LayerOptions options_;
  const int64_t rows_;
  const SelfAttentionBlock<Device, T> self_attention_;
  const FfnBlock<Device, T> ffn_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_ENCODER_LAYER_H_
