#ifndef TF_LS_CC_LAYERS_RESIDUAL_H_
#define TF_LS_CC_LAYERS_RESIDUAL_H_

#include <cstdint>

#include "cc/core/arena.h"
#include "cc/kernels/dropout.h"
#include "cc/kernels/layer_norm.h"
#include "cc/kernels/pre_norm_gradient.h"
#include "cc/layers/layer_options.h"
#include "cc/layers/weights.h"

namespace tf_ls {

// What a block saves (its Saved), in scratch memory instead of a reserve.
template <typename Saved>
Saved CutSaved(Arena* arena, const LayerOptions& options, int64_t rows) {
  BufferCutter measure(nullptr);
  Saved::Cut(options, rows, &measure);
  BufferCutter cutter(arena->Allocate<unsigned char>(measure.used()));
  return Saved::Cut(options, rows, &cutter);
}

// What every block of a layer shares: layer norm, dropout and the residual connection around a
// function f.
//   pre-norm:  y = x + dropout(f(norm(x)))
//   post-norm: y = norm(x + dropout(f(x)))
template <typename Device, typename T>
class Residual {
 public:
  // What backward needs; lives in the layer's reserve.
  struct Saved {
    Moments moments;
    T* sum;  // post-norm: what the norm was applied to

    static Saved Cut(const LayerOptions& options, int64_t rows, BufferCutter* reserve) {
      Saved saved;
      saved.moments.mean = reserve->Cut<float>(rows);
      saved.moments.inverse_deviation = reserve->Cut<float>(rows);
      saved.sum = options.pre_norm ? nullptr : reserve->Cut<T>(rows * options.hidden_size);
      return saved;
    }
  };

  Residual(const Device& device, const LayerOptions& options, LayerNormWeights<const float*> norm,
           DropoutSite site, int64_t rows)
      : device_(device),
        options_(options),
        norm_(norm),
        dropout_(options.MakeDropout(options.residual_dropout, site)),
        rows_(rows) {}

  // `function(input, output)` writes f(input); y may be x.
  template <typename Function>
  void Forward(const T* x, const Saved& saved, T* y, const Function& function) const {
    const ArenaScope scope(device_.arena);
    T* const output = New();
    if (options_.pre_norm) {
      T* const normalized = New();
      LayerNorm(device_, x, rows_, options_.hidden_size, norm_.gamma, norm_.beta, options_.epsilon,
                normalized, saved.moments);
      function(normalized, output);
      DropoutAdd(device_, dropout_, output, x, rows_, options_.hidden_size, y);
    } else {
      function(x, output);
      DropoutAdd(device_, dropout_, output, x, rows_, options_.hidden_size, saved.sum);
      LayerNorm(device_, saved.sum, rows_, options_.hidden_size, norm_.gamma, norm_.beta,
                options_.epsilon, y, saved.moments);
    }
  }

  // `gradient(input, doutput, dinput, sums)` writes the gradient of f at `input`, sums of columns
  // when `sums` are finished; dx may be dy. The last thing that f does is to add a bias, whose
  // gradient dbias[H] is made here.
  template <typename Function>
  void Backward(const T* x, const Saved& saved, const T* dy, T* dx, LayerNormWeights<float*> dnorm,
                float* dbias, const Function& gradient) const {
    const ArenaScope scope(device_.arena);
    ColumnSums<Device> sums(device_);
    const int64_t n = options_.hidden_size;
    T* const doutput = New();
    T* const dinput = New();
    if (options_.pre_norm) {
      T* const normalized = New();
      PreNormGradient(device_, x, norm_.gamma, norm_.beta, saved.moments, dropout_, dy, rows_, n,
                      normalized, doutput, dbias, &sums);
      gradient(normalized, doutput, dinput, &sums);
      LayerNormGradient(device_, dinput, x, rows_, n, norm_.gamma, saved.moments, dy, dx,
                        dnorm.gamma, dnorm.beta, &sums);
    } else {
      T* const dsum = New();
      LayerNormGradient(device_, dy, saved.sum, rows_, n, norm_.gamma, saved.moments,
                        static_cast<const T*>(nullptr), dsum, dnorm.gamma, dnorm.beta, &sums);
      DropoutBiasGradient<T>(device_, dropout_, dsum, rows_, n, doutput, dbias, &sums);
      gradient(x, doutput, dinput, &sums);
      DropoutAdd(device_, Dropout(), dinput, dsum, rows_, n, dx);
    }
    sums.Finish();
  }

 private:
  T* New() const { return device_.arena->template Allocate<T>(rows_ * options_.hidden_size); }

  const Device& device_;
  const LayerOptions& options_;
  const LayerNormWeights<const float*> norm_;
  const Dropout dropout_;
  const int64_t rows_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_RESIDUAL_H_
