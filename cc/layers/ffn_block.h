#ifndef TF_LS_CC_LAYERS_FFN_BLOCK_H_
#define TF_LS_CC_LAYERS_FFN_BLOCK_H_

#include <cstdint>

#include "cc/kernels/activation.h"
#include "cc/layers/dense.h"
#include "cc/layers/residual.h"

namespace tf_ls {

// The position-wise feed-forward network with its norm, dropout and residual connection.
template <typename Device, typename T>
class FfnBlock {
 public:
  struct Saved {
    typename Residual<Device, T>::Saved residual;
    T* inner;  // [rows, F]: before the activation; with relu, behind it and its dropout

    static Saved Cut(const LayerOptions& options, int64_t rows, BufferCutter* reserve) {
      Saved saved;
      saved.residual = Residual<Device, T>::Saved::Cut(options, rows, reserve);
      saved.inner = reserve->Cut<T>(rows * options.filter_size);
      return saved;
    }
  };

  FfnBlock(const Device& device, const LayerOptions& options, int64_t rows,
           const FfnWeights<const float*>& weights)
      : device_(device),
        weights_(weights),
        activation_(options.activation),
        hidden_(options.hidden_size),
        filter_(options.filter_size),
        rows_(rows),
        dropout_(options.MakeDropout(options.activation_dropout, DropoutSite::kActivation)),
        residual_(device, options, weights.norm, DropoutSite::kFfnOutput, rows) {}

  void Forward(const T* x, const Saved& saved, T* y) const {
    residual_.Forward(x, saved.residual, y, [&](const T* input, T* output) {
      Dense(device_, weights_.dense1, hidden_, filter_, input, rows_, saved.inner);
      T* const activated = Activated(saved);
      ActivationDropout<T>(device_, activation_, dropout_, saved.inner, rows_, filter_, activated);
      Dense<Device, T>(device_, weights_.dense2, filter_, hidden_, activated, rows_, output);
    });
  }

  void Backward(const T* x, const Saved& saved, const T* dy, T* dx,
                const FfnWeights<float*>& gradient) const {
    residual_.Backward(
        x, saved.residual, dy, dx, gradient.norm, gradient.dense2.bias,
        [&](const T* input, const T* doutput, T* dinput, ColumnSums<Device>* sums) {
          T* const activated = Activated(saved);
          T* const dinner = NewInner();
          DenseInputGradient(device_, weights_.dense2, filter_, hidden_, doutput, rows_, dinner);
          if (activation_ == Activation::kRelu) {
            ReluDropoutGradient<T>(device_, dropout_, activated, dinner, rows_, filter_, dinner,
                                   gradient.dense1.bias, sums);
          } else {
            ActivationDropoutGradient<T>(device_, activation_, dropout_, saved.inner, dinner, rows_,
                                         filter_, activated, dinner, gradient.dense1.bias, sums);
          }
          MatMulWeightGradient(device_, activated, doutput, rows_, filter_, hidden_,
                               gradient.dense2.kernel);
          DenseProductGradient<Device, T>(device_, weights_.dense1, hidden_, filter_, input, dinner,
                                          rows_, dinput, gradient.dense1);
        });
  }

 private:
  // Where the second product's factor goes. Relu's slope can be told from what comes out.
  T* Activated(const Saved& saved) const {
    return activation_ == Activation::kRelu ? saved.inner : NewInner();
  }
  T* NewInner() const { return device_.arena->template Allocate<T>(rows_ * filter_); }

  const Device& device_;
  const FfnWeights<const float*> weights_;
  const Activation activation_;
  const int64_t hidden_;
  const int64_t filter_;
  const int64_t rows_;
  const Dropout dropout_;
  const Residual<Device, T> residual_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_FFN_BLOCK_H_
