#ifndef TF_LS_CC_LAYERS_CROSS_ATTENTION_BLOCK_H_
#define TF_LS_CC_LAYERS_CROSS_ATTENTION_BLOCK_H_

#include <cstdint>

#include "cc/kernels/attention.h"
#include "cc/layers/dense.h"
#include "cc/layers/residual.h"

namespace tf_ls {

// What cross-attention attends to.
template <typename T>
struct Memory {
  const T* data;  // [sentences.rows, memory_size]
  Sentences sentences;
  // Query i sees no more than lag + i rows (wait-k decoding).
  int64_t lag;
};

// Attention over a memory with its norm, dropout and residual connection.
template <typename Device, typename T>
class CrossAttentionBlock {
 public:
  struct Saved {
    typename Residual<Device, T>::Saved residual;
    T* q;             // [rows, H]
    T* kv;            // [memory rows, 2H]
    T* context;       // [rows, H]
    float* log_sums;  // [heads, rows]

    static Saved Cut(const LayerOptions& options, int64_t rows, int64_t memory_rows,
                     BufferCutter* reserve) {
      Saved saved;
      saved.residual = Residual<Device, T>::Saved::Cut(options, rows, reserve);
      saved.q = reserve->Cut<T>(rows * options.hidden_size);
      saved.kv = reserve->Cut<T>(memory_rows * 2 * options.hidden_size);
      saved.context = reserve->Cut<T>(rows * options.hidden_size);
      saved.log_sums = reserve->Cut<float>(rows * options.num_heads);
      return saved;
    }
  };

  CrossAttentionBlock(const Device& device, const LayerOptions& options, const Sentences& sentences,
                      const Memory<T>& memory, const CrossAttentionWeights<const float*>& weights)
      : device_(device),
        weights_(weights),
        memory_(memory),
        hidden_(options.hidden_size),
        memory_size_(options.memory_size),
        rows_(sentences.rows),
        memory_rows_(memory.sentences.rows),
        shape_{options.num_heads, options.head_size(), sentences,
               memory.sentences,  /*causal=*/false,    memory.lag},
        dropout_(
            options.MakeDropout(options.attention_dropout, DropoutSite::kCrossAttentionWeights)),
        residual_(device, options, weights.norm, DropoutSite::kCrossAttentionOutput, rows_) {}

  void Forward(const T* x, const Saved& saved, T* y) const {
    residual_.Forward(x, saved.residual, y, [&](const T* input, T* output) {
      Dense(device_, weights_.q, hidden_, hidden_, input, rows_, saved.q);
      Dense(device_, weights_.kv, memory_size_, 2 * hidden_, memory_.data, memory_rows_, saved.kv);
      Attention<T>(device_, shape_, dropout_, Queries(saved), Keys(saved), Values(saved),
                   saved.context, saved.log_sums);
      Dense(device_, weights_.out, hidden_, hidden_, saved.context, rows_, output);
    });
  }

  // Also writes the gradient of the memory.
  void Backward(const T* x, const Saved& saved, const T* dy, T* dx, T* dmemory,
                const CrossAttentionWeights<float*>& gradient) const {
    residual_.Backward(
        x, saved.residual, dy, dx, gradient.norm, gradient.out.bias,
        [&](const T* input, const T* doutput, T* dinput, ColumnSums<Device>* sums) {
          T* const dcontext = dinput;  // free until the end
          DenseProductGradient(device_, weights_.out, hidden_, hidden_, saved.context, doutput,
                               rows_, dcontext, gradient.out);
          T* const dq = device_.arena->template Allocate<T>(rows_ * hidden_);
          T* const dkv = device_.arena->template Allocate<T>(memory_rows_ * 2 * hidden_);
          AttentionGradient<T>(device_, shape_, dropout_, Queries(saved), Keys(saved),
                               Values(saved), saved.context, saved.log_sums, dcontext,
                               {dq, hidden_}, {dkv, 2 * hidden_}, {dkv + hidden_, 2 * hidden_});
          DenseGradient(device_, weights_.kv, memory_size_, 2 * hidden_, memory_.data,
                        static_cast<const T*>(dkv), memory_rows_, dmemory, gradient.kv, sums);
          DenseGradient(device_, weights_.q, hidden_, hidden_, input, static_cast<const T*>(dq),
                        rows_, dinput, gradient.q, sums);
        });
  }

 private:
  HeadRows<const T> Queries(const Saved& saved) const { return {saved.q, hidden_}; }
  HeadRows<const T> Keys(const Saved& saved) const { return {saved.kv, 2 * hidden_}; }
  HeadRows<const T> Values(const Saved& saved) const { return {saved.kv + hidden_, 2 * hidden_}; }

  const Device& device_;
  const CrossAttentionWeights<const float*> weights_;
  const Memory<T> memory_;
  const int64_t hidden_;
  const int64_t memory_size_;
  const int64_t rows_;
  const int64_t memory_rows_;
  const AttentionShape shape_;
  const Dropout dropout_;
  const Residual<Device, T> residual_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_CROSS_ATTENTION_BLOCK_H_
