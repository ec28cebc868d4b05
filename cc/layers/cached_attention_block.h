#ifndef TF_LS_CC_LAYERS_CACHED_ATTENTION_BLOCK_H_
#define TF_LS_CC_LAYERS_CACHED_ATTENTION_BLOCK_H_

#include <cstdint>

#include "cc/kernels/append_rows.h"
#include "cc/kernels/attention.h"
#include "cc/layers/dense.h"
#include "cc/layers/equal_sentences.h"
#include "cc/layers/residual.h"

namespace tf_ls {

// Keys and values [batch, length, H] of a number of positions.
template <typename P>
struct KeysAndValues {
  P keys;
  P values;
};

// Causal self-attention of the next `added` positions of every sentence, behind `cached` positions
// whose keys and values are known.
template <typename Device, typename T>
class CachedAttentionBlock {
 public:
  struct Saved {
    typename Residual<Device, T>::Saved residual;
    T* qkv;           // [batch, added, 3H]
    T* context;       // [batch, added, H]
    float* log_sums;  // [heads, batch * added]

    static Saved Cut(const LayerOptions& options, int64_t rows, BufferCutter* reserve) {
      Saved saved;
      saved.residual = Residual<Device, T>::Saved::Cut(options, rows, reserve);
      saved.qkv = reserve->Cut<T>(rows * 3 * options.hidden_size);
      saved.context = reserve->Cut<T>(rows * options.hidden_size);
      saved.log_sums = reserve->Cut<float>(rows * options.num_heads);
      return saved;
    }
  };

  CachedAttentionBlock(const Device& device, const LayerOptions& options, int64_t batch,
                       int64_t cached, int64_t added,
                       const SelfAttentionWeights<const float*>& weights)
      : device_(device),
        weights_(weights),
        hidden_(options.hidden_size),
        batch_(batch),
        cached_(cached),
        added_(added),
        queries_(device, batch, added),
        keys_(device, batch, cached + added),
        shape_{options.num_heads, options.head_size(), queries_.view(),
               keys_.view(),      /*causal=*/true,     kNoLag},
        residual_(device, options, weights.norm, DropoutSite::kSelfAttentionOutput, rows()) {}

  // x and y: [batch, added, H]. `cache` holds `cached` positions; `all`, which is written, those
  // and the added ones.
  void Forward(const T* x, KeysAndValues<const T*> cache, const Saved& saved, KeysAndValues<T*> all,
               T* y) const {
    residual_.Forward(x, saved.residual, y, [&](const T* input, T* output) {
      Dense(device_, weights_.qkv, hidden_, 3 * hidden_, input, rows(), saved.qkv);
      Append(cache.keys, Part(saved.qkv, 1), all.keys);
      Append(cache.values, Part(saved.qkv, 2), all.values);
      Attention<T>(device_, shape_, Dropout(), Part(saved.qkv, 0), {all.keys, hidden_},
                   {all.values, hidden_}, saved.context, saved.log_sums);
      Dense(device_, weights_.out, hidden_, hidden_, saved.context, rows(), output);
    });
  }

  // `all` as Forward wrote it, and `dall` what comes back to it from later steps. Writes the
  // gradients of x, of the cache, and of the weights.
  void Backward(const T* x, KeysAndValues<const T*> all, const Saved& saved, const T* dy,
                KeysAndValues<const T*> dall, T* dx, KeysAndValues<T*> dcache,
                const SelfAttentionWeights<float*>& gradient) const {
    residual_.Backward(
        x, saved.residual, dy, dx, gradient.norm, gradient.out.bias,
        [&](const T* input, const T* doutput, T* dinput, ColumnSums<Device>* sums) {
          T* const dcontext = dinput;  // free until the end
          DenseProductGradient<Device, T>(device_, weights_.out, hidden_, hidden_, saved.context,
                                          doutput, rows(), dcontext, gradient.out);
          T* const dqkv = New(rows() * 3);
          T* const dkeys = New(keys_.view().rows);
          T* const dvalues = New(keys_.view().rows);
          const auto part = [&](int64_t i) { return HeadRows<T>{dqkv + i * hidden_, 3 * hidden_}; };
          AttentionGradient<T>(device_, shape_, Dropout(), Part(saved.qkv, 0), {all.keys, hidden_},
                               {all.values, hidden_}, saved.context, saved.log_sums, dcontext,
                               part(0), {dkeys, hidden_}, {dvalues, hidden_});
          AppendRowsGradient<T>(device_, dkeys, dall.keys, batch_, cached_, added_, hidden_,
                                dcache.keys, part(1));
          AppendRowsGradient<T>(device_, dvalues, dall.values, batch_, cached_, added_, hidden_,
                                dcache.values, part(2));
          DenseGradient<Device, T>(device_, weights_.qkv, hidden_, 3 * hidden_, input, dqkv, rows(),
                                   dinput, gradient.qkv, sums);
        });
  }

 private:
  int64_t rows() const { return batch_ * added_; }
  T* New(int64_t rows) const { return device_.arena->template Allocate<T>(rows * hidden_); }
  HeadRows<const T> Part(const T* qkv, int64_t i) const { return {qkv + i * hidden_, 3 * hidden_}; }
  void Append(const T* cache, HeadRows<const T> rows, T* all) const {
    AppendRows(device_, cache, batch_, cached_, rows, added_, hidden_, all);
  }

  const Device& device_;
  const SelfAttentionWeights<const float*> weights_;
  const int64_t hidden_;
  const int64_t batch_;
  const int64_t cached_;
  const int64_t added_;
  const EqualSentences<Device> queries_;
  const EqualSentences<Device> keys_;
  const AttentionShape shape_;
  const Residual<Device, T> residual_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_CACHED_ATTENTION_BLOCK_H_
