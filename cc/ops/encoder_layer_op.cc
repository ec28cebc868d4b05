#include "cc/layers/encoder_layer.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/layer_weights.h"
#include "cc/ops/reserve.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Checks x, offsets, lengths, seed from input `first` on and the weights from input `first_weight`
// on.
Status CheckShapes(InferenceContext* c, int first, int first_weight) {
  ShapeHandle x, ignored;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first), 2, &x));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + 1), 1, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + 2), 1, &ignored));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->input(first + 3), c->Vector(2), &ignored));
  return CheckWeightShapes(c, first_weight, c->num_inputs() - first_weight, c->Dim(x, 1),
                           /*cross_attention=*/false, c->UnknownDim());
}

REGISTER_OP("LSEncoderLayer")
    .Input("x: T")
    .Input("offsets: int32")
    .Input("lengths: int32")
    .Input("seed: int64")
    .Input("weights: N * W")
    .Output("y: T")
    .Output("reserve: uint8")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("N: int >= 1")
    .Attr("num_heads: int >= 1")
    .Attr("pre_norm: bool = true")
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox', 'silu'} = 'relu'")
    .Attr("epsilon: float = 1e-6")
    .Attr("causal: bool = false")
    .Attr("attention_dropout: float = 0.0")
    .Attr("activation_dropout: float = 0.0")
    .Attr("residual_dropout: float = 0.0")
    .Attr("save_reserve: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 0, 4));
      c->set_output(0, c->input(0));
      c->set_output(1, c->Vector(InferenceContext::kUnknownDim));
      return Status();
    });

REGISTER_OP("LSEncoderLayerGrad")
    .Input("dy: T")
    .Input("x: T")
    .Input("offsets: int32")
    .Input("lengths: int32")
    .Input("seed: int64")
    .Input("reserve: uint8")
    .Input("weights: N * W")
    .Output("dx: T")
    .Output("dweights: N * W")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("N: int >= 1")
    .Attr("num_heads: int >= 1")
    .Attr("pre_norm: bool = true")
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox', 'silu'} = 'relu'")
    .Attr("epsilon: float = 1e-6")
    .Attr("causal: bool = false")
    .Attr("attention_dropout: float = 0.0")
    .Attr("activation_dropout: float = 0.0")
    .Attr("residual_dropout: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle ignored;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 1, 6));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &ignored));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(5), 1, &ignored));
      c->set_output(0, c->input(1));
      for (int i = 1; i < c->num_outputs(); ++i) c->set_output(i, c->input(5 + i));
      return Status();
    });

// Inputs that forward and gradient share, from input `first` on.
template <typename Device, typename T>
struct Inputs {
  LayerOptions options;
  Sentences sentences;
  LayerWeights weights;

  Status Read(OpKernelContext* context, int first, const LayerOptions& attributes,
              DeviceContext<Device>* device) {
    options = attributes;
    const Tensor& x = context->input(first);
    TF_LS_RETURN_IF_ERROR(CheckRank(x, 2, "x"));
    options.hidden_size = x.dim_size(1);
    TF_LS_RETURN_IF_ERROR(ReadSentences(context->input(first + 1), context->input(first + 2),
                                        x.dim_size(0), "x's", &sentences));
    TF_LS_RETURN_IF_ERROR(ReadSeed(context->input(first + 3), &options.seed));
    TF_LS_RETURN_IF_ERROR(weights.Read(context, device, &options));
    device->Bring(
        {{&sentences.offsets, sentences.count + 1}, {&sentences.lengths, sentences.count}});
    return Status();
  }
};

template <typename Device, typename TensorType>
class EncoderLayerOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit EncoderLayerOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
    OP_REQUIRES_OK(construction, construction->GetAttr("save_reserve", &save_reserve_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs<Device, T> inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, 0, options_, device));
    const EncoderLayer<Device, T> layer(device->device(), inputs.options, inputs.sentences,
                                        inputs.weights.data());
    Tensor* y;
    void* reserve;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, context->input(0).shape(), &y));
    LayerReserve<T, Device, EncoderLayer> kept(device, layer, inputs.weights);
    TF_LS_RETURN_IF_ERROR(kept.Allocate(context, 1, save_reserve_, &reserve));
    layer.Forward(device->template Read<T>(context->input(0)), reserve,
                  device->template Write<T>(y));
    return Status();
  }

 private:
  LayerOptions options_;
  bool save_reserve_;
};

template <typename Device, typename TensorType>
class EncoderLayerGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit EncoderLayerGradOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs<Device, T> inputs;
    const Tensor& dy = context->input(0);
    const Tensor& x = context->input(1);
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, 1, options_, device));
    TF_LS_RETURN_IF_ERROR(CheckShape(dy, x.shape(), "dy"));
    const EncoderLayer<Device, T> layer(device->device(), inputs.options, inputs.sentences,
                                        inputs.weights.data());
    const T* const x_data = device->template Read<T>(x);
    const void* reserve;
    LayerReserve<T, Device, EncoderLayer> kept(device, layer, inputs.weights);
    TF_LS_RETURN_IF_ERROR(kept.Read(context->input(5), x_data, x.NumElements(), &reserve));
    Tensor* dx;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &dx));
    LayerGradients gradients;
    TF_LS_RETURN_IF_ERROR(gradients.Allocate(context, device));
    layer.Backward(x_data, reserve, device->template Read<T>(dy), device->template Write<T>(dx),
                   gradients.data());
    return Status();
  }

 private:
  LayerOptions options_;
};

TF_LS_REGISTER_FOR_FLOATS("LSEncoderLayer", EncoderLayerOp,
                          .HostMemory("offsets").HostMemory("lengths").HostMemory("seed"))
TF_LS_REGISTER_FOR_FLOATS("LSEncoderLayerGrad", EncoderLayerGradOp,
                          .HostMemory("offsets").HostMemory("lengths").HostMemory("seed"))

}  // namespace
}  // namespace tf_ls
