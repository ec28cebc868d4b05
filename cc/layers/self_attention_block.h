#ifndef TF_LS_CC_LAYERS_SELF_ATTENTION_BLOCK_H_
#define TF_LS_CC_LAYERS_SELF_ATTENTION_BLOCK_H_

#include <cstdint>

#include "cc/kernels/attention.h"
#include "cc/layers/dense.h"
#include "cc/layers/residual.h"

namespace tf_ls {

// Self-attention with its norm, dropout and residual connection.
template <typename Device, typename T>
class SelfAttentionBlock {
 public:
  struct Saved {
    typename Residual<Device, T>::Saved residual;
    T* qkv;           // [rows, 3H]
    T* context;       // [rows, H]: what attention gave
    float* log_sums;  // [heads, rows]

    static Saved Cut(const LayerOptions& options, int64_t rows, BufferCutter* reserve) {
      Saved saved;
      saved.residual = Residual<Device, T>::Saved::Cut(options, rows, reserve);
      saved.qkv = reserve->Cut<T>(rows * 3 * options.hidden_size);
      saved.context = reserve->Cut<T>(rows * options.hidden_size);
      saved.log_sums = reserve->Cut<float>(rows * options.num_heads);
      return saved;
    }
  };

  SelfAttentionBlock(const Device& device, const LayerOptions& options, const Sentences& sentences,
                     const SelfAttentionWeights<const float*>& weights)
      : device_(device),
        weights_(weights),
        hidden_(options.hidden_size),
        rows_(sentences.rows),
        shape_{options.num_heads, options.head_size(), sentences,
               sentences,         options.causal,      kNoLag},
        dropout_(
            options.MakeDropout(options.attention_dropout, DropoutSite::kSelfAttentionWeights)),
        residual_(device, options, weights.norm, DropoutSite::kSelfAttentionOutput, rows_) {}

  void Forward(const T* x, const Saved& saved, T* y) const {
    residual_.Forward(x, saved.residual, y, [&](const T* input, T* output) {
      Dense(device_, weights_.qkv, hidden_, 3 * hidden_, input, rows_, saved.qkv);
      Attention<T>(device_, shape_, dropout_, Part(saved.qkv, 0), Part(saved.qkv, 1),
                   Part(saved.qkv, 2), saved.context, saved.log_sums);
      Dense(device_, weights_.out, hidden_, hidden_, saved.context, rows_, output);
    });
  }

  void Backward(const T* x, const Saved& saved, const T* dy, T* dx,
                const SelfAttentionWeights<float*>& gradient) const {
    residual_.Backward(
        x, saved.residual, dy, dx, gradient.norm, gradient.out.bias,
        [&](const T* input, const T* doutput, T* dinput, ColumnSums<Device>* sums) {
          T* const dcontext = dinput;  // free until the end
          DenseProductGradient(device_, weights_.out, hidden_, hidden_, saved.context, doutput,
                               rows_, dcontext, gradient.out);
          T* const dqkv = device_.arena->template Allocate<T>(rows_ * 3 * hidden_);
          const auto part = [&](int64_t i) { return HeadRows<T>{dqkv + i * hidden_, 3 * hidden_}; };
          AttentionGradient<T>(device_, shape_, dropout_, Part(saved.qkv, 0), Part(saved.qkv, 1),
                               Part(saved.qkv, 2), saved.context, saved.log_sums, dcontext, part(0),
                               part(1), part(2));
          DenseGradient(device_, weights_.qkv, hidden_, 3 * hidden_, input,
                        static_cast<const T*>(dqkv), rows_, dinput, gradient.qkv, sums);
        });
  }

 private:
  HeadRows<const T> Part(const T* qkv, int64_t i) const { return {qkv + i * hidden_, 3 * hidden_}; }

  const Device& device_;
  const SelfAttentionWeights<const float*> weights_;
  const int64_t hidden_;
  const int64_t rows_;
  const AttentionShape shape_;
  const Dropout dropout_;
  const Residual<Device, T> residual_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_SELF_ATTENTION_BLOCK_H_
