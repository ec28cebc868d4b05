#ifndef TF_LS_CC_LAYERS_PROJECTED_ATTENTION_BLOCK_H_
#define TF_LS_CC_LAYERS_PROJECTED_ATTENTION_BLOCK_H_

#include <cstdint>

#include "cc/kernels/attention.h"
#include "cc/layers/cached_attention_block.h"
#include "cc/layers/dense.h"
#include "cc/layers/equal_sentences.h"
#include "cc/layers/residual.h"

namespace tf_ls {

// A memory as cross-attention projects it, once a sentence.
template <typename T>
struct ProjectedMemory {
  KeysAndValues<const T*> projected;  // [batch, length, H] each
  int64_t length;
  const int32_t* lengths;  // [batch]: how many of them may be attended to
  int64_t lag;             // as in Memory
};

// Attention of `added` positions of every sentence over a memory projected before.
template <typename Device, typename T>
class ProjectedAttentionBlock {
 public:
  struct Saved {
    typename Residual<Device, T>::Saved residual;
    T* q;             // [batch, added, H]
    T* context;       // [batch, added, H]
    float* log_sums;  // [heads, batch * added]

    static Saved Cut(const LayerOptions& options, int64_t rows, BufferCutter* reserve) {
      Saved saved;
      saved.residual = Residual<Device, T>::Saved::Cut(options, rows, reserve);
      saved.q = reserve->Cut<T>(rows * options.hidden_size);
      saved.context = reserve->Cut<T>(rows * options.hidden_size);
      saved.log_sums = reserve->Cut<float>(rows * options.num_heads);
      return saved;
    }
  };

  ProjectedAttentionBlock(const Device& device, const LayerOptions& options, int64_t batch,
                          int64_t added, const ProjectedMemory<T>& memory,
                          const CrossAttentionWeights<const float*>& weights)
      : device_(device),
        weights_(weights),
        memory_(memory.projected),
        hidden_(options.hidden_size),
        memory_size_(options.memory_size),
        rows_(batch * added),
        queries_(device, batch, added),
        keys_(device, batch, memory.length),
        shape_{options.num_heads, options.head_size(),
               queries_.view(),   {keys_.view().offsets, memory.lengths, batch, keys_.view().rows},
               /*causal=*/false,  memory.lag},
        residual_(device, options, weights.norm, DropoutSite::kCrossAttentionOutput, rows_) {}

  void Forward(const T* x, const Saved& saved, T* y) const {
    residual_.Forward(x, saved.residual, y, [&](const T* input, T* output) {
      Dense(device_, weights_.q, hidden_, hidden_, input, rows_, saved.q);
      Attention<T>(device_, shape_, Dropout(), {saved.q, hidden_}, {memory_.keys, hidden_},
                   {memory_.values, hidden_}, saved.context, saved.log_sums);
      Dense(device_, weights_.out, hidden_, hidden_, saved.context, rows_, output);
    });
  }

  // Also writes the gradient of the projected memory.
  void Backward(const T* x, const Saved& saved, const T* dy, T* dx, KeysAndValues<T*> dmemory,
                const CrossAttentionWeights<float*>& gradient) const {
    residual_.Backward(
        x, saved.residual, dy, dx, gradient.norm, gradient.out.bias,
        [&](const T* input, const T* doutput, T* dinput, ColumnSums<Device>* sums) {
          T* const dcontext = dinput;  // free until the end
          DenseProductGradient<Device, T>(device_, weights_.out, hidden_, hidden_, saved.context,
                                          doutput, rows_, dcontext, gradient.out);
          T* const dq = device_.arena->template Allocate<T>(rows_ * hidden_);
          AttentionGradient<T>(device_, shape_, Dropout(), {saved.q, hidden_},
                               {memory_.keys, hidden_}, {memory_.values, hidden_}, saved.context,
                               saved.log_sums, dcontext, {dq, hidden_}, {dmemory.keys, hidden_},
                               {dmemory.values, hidden_});
          DenseGradient<Device, T>(device_, weights_.q, hidden_, hidden_, input, dq, rows_, dinput,
                                   gradient.q, sums);
        });
    ColumnSums<Device> sums(device_);
    // No row is projected here, and the gradient of no rows is zero.
    DenseGradient<Device, T>(device_, weights_.kv, memory_size_, 2 * hidden_, nullptr, nullptr,
                             /*rows=*/0, nullptr, gradient.kv, &sums);
    sums.Finish();
  }

 private:
  const Device& device_;
  const CrossAttentionWeights<const float*> weights_;
  const KeysAndValues<const T*> memory_;
  const int64_t hidden_;
  const int64_t memory_size_;
  const int64_t rows_;
  const EqualSentences<Device> queries_;
  const EqualSentences<Device> keys_;
  const AttentionShape shape_;
  const Residual<Device, T> residual_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_PROJECTED_ATTENTION_BLOCK_H_
