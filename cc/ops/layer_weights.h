#ifndef TF_LS_CC_OPS_LAYER_WEIGHTS_H_
#define TF_LS_CC_OPS_LAYER_WEIGHTS_H_

#include <vector>

#include "cc/ops/checks.h"
#include "cc/ops/device_context.h"

namespace tf_ls {

// A weight, a matrix or a vector, by its numbers and the tensor they are of.
inline WeightPiece PieceOf(const AnyNumbers& numbers, const tensorflow::Tensor& weight) {
  if (weight.dims() == 2) return {numbers, weight.dim_size(0), weight.dim_size(1)};
  return {numbers, 1, weight.NumElements()};
}

// The input list "weights" of an operation as float32.
class LayerWeights {
 public:
  // Also fills options->filter_size.
  template <typename Device>
  Status Read(tensorflow::OpKernelContext* context, DeviceContext<Device>* device,
              LayerOptions* options) {
    tensorflow::OpInputList inputs;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &inputs));
    TF_LS_RETURN_IF_ERROR(CheckWeights(inputs, options));
    for (const tensorflow::Tensor& input : inputs) {
      pointers_.push_back(device->Float(input));
      pieces_.push_back(PieceOf(pointers_.back(), input));
    }
    return Status();
  }

  const float* const* data() const { return pointers_.data(); }
  const std::vector<WeightPiece>& pieces() const { return pieces_; }

 private:
  std::vector<const float*> pointers_;
  std::vector<WeightPiece> pieces_;
};

// The output list "dweights" of a gradient, shaped as the input list "weights".
class LayerGradients {
 public:
  template <typename Device>
  Status Allocate(tensorflow::OpKernelContext* context, DeviceContext<Device>* device) {
    tensorflow::OpInputList weights;
    tensorflow::OpOutputList outputs;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &weights));
    TF_LS_RETURN_IF_ERROR(context->output_list("dweights", &outputs));
    for (int i = 0; i < weights.size(); ++i) {
      tensorflow::Tensor* output;
      TF_LS_RETURN_IF_ERROR(outputs.allocate(i, weights[i].shape(), &output));
      pointers_.push_back(device->template Write<float>(output));
    }
    return Status();
  }

  float* const* data() const { return pointers_.data(); }

 private:
  std::vector<float*> pointers_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_LAYER_WEIGHTS_H_
