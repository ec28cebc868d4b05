#include "cc/layers/decoder_layer.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/layer_weights.h"
#include "cc/ops/reserve.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Where the inputs that forward and gradient share begin (x, offsets, lengths, memory,
// memory_offsets, memory_lengths, memory_lag, seed), in that order.
constexpr int kForwardStart = 0;
constexpr int kGradientStart = 1;

Status CheckShapes(InferenceContext* c, int first, int first_weight) {
  ShapeHandle x, memory, ignored;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first), 2, &x));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + 3), 2, &memory));
  for (const int vector : {1, 2, 4, 5})
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + vector), 1, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + 6), 0, &ignored));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->input(first + 7), c->Vector(2), &ignored));
  return CheckWeightShapes(c, first_weight, c->num_inputs() - first_weight, c->Dim(x, 1),
                           /*cross_attention=*/true, c->Dim(memory, 1));
}

REGISTER_OP("LSDecoderLayer")
    .Input("x: T")
    .Input("offsets: int32")
    .Input("lengths: int32")
    .Input("memory: T")
    .Input("memory_offsets: int32")
    .Input("memory_lengths: int32")
    .Input("memory_lag: int32")
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
    .Attr("attention_dropout: float = 0.0")
    .Attr("activation_dropout: float = 0.0")
    .Attr("residual_dropout: float = 0.0")
    .Attr("save_reserve: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, kForwardStart, 8));
      c->set_output(0, c->input(0));
      c->set_output(1, c->Vector(InferenceContext::kUnknownDim));
      return Status();
    });

REGISTER_OP("LSDecoderLayerGrad")
    .Input("dy: T")
    .Input("x: T")
    .Input("offsets: int32")
    .Input("lengths: int32")
    .Input("memory: T")
    .Input("memory_offsets: int32")
    .Input("memory_lengths: int32")
    .Input("memory_lag: int32")
    .Input("seed: int64")
    .Input("reserve: uint8")
    .Input("weights: N * W")
    .Output("dx: T")
    .Output("dmemory: T")
    .Output("dweights: N * W")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("N: int >= 1")
    .Attr("num_heads: int >= 1")
    .Attr("pre_norm: bool = true")
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox', 'silu'} = 'relu'")
    .Attr("epsilon: float = 1e-6")
    .Attr("attention_dropout: float = 0.0")
    .Attr("activation_dropout: float = 0.0")
    .Attr("residual_dropout: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle ignored;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, kGradientStart, 10));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &ignored));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(9), 1, &ignored));
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(4));
      for (int i = 2; i < c->num_outputs(); ++i) c->set_output(i, c->input(8 + i));
      return Status();
    });

template <typename Device, typename T>
struct Inputs {
  LayerOptions options;
  Sentences sentences;
  Sentences memory_sentences;
  int64_t memory_lag;
  LayerWeights weights;

  Status Read(OpKernelContext* context, int first, const LayerOptions& attributes,
              DeviceContext<Device>* device) {
    options = attributes;
    options.causal = true;
    const Tensor& x = context->input(first);
    const Tensor& memory = context->input(first + 3);
    TF_LS_RETURN_IF_ERROR(CheckRank(x, 2, "x"));
    TF_LS_RETURN_IF_ERROR(CheckRank(memory, 2, "memory"));
    options.hidden_size = x.dim_size(1);
    options.memory_size = memory.dim_size(1);
    if (memory.dim_size(1) < 1) {
      return tensorflow::errors::InvalidArgument("memory must have columns, got shape ",
                                                 memory.shape().DebugString());
    }
    TF_LS_RETURN_IF_ERROR(ReadSentences(context->input(first + 1), context->input(first + 2),
                                        x.dim_size(0), "x's", &sentences));
    TF_LS_RETURN_IF_ERROR(ReadSentences(context->input(first + 4), context->input(first + 5),
                                        memory.dim_size(0), "memory's", &memory_sentences));
    if (sentences.count != memory_sentences.count) {
      return tensorflow::errors::InvalidArgument("x and memory must have as many sentences, got ",
                                                 sentences.count, " and ", memory_sentences.count);
    }
    TF_LS_RETURN_IF_ERROR(ReadLag(context->input(first + 6), &memory_lag));
    TF_LS_RETURN_IF_ERROR(ReadSeed(context->input(first + 7), &options.seed));
    TF_LS_RETURN_IF_ERROR(weights.Read(context, device, &options));
    device->Bring({{&sentences.offsets, sentences.count + 1},
                   {&sentences.lengths, sentences.count},
                   {&memory_sentences.offsets, memory_sentences.count + 1},
                   {&memory_sentences.lengths, memory_sentences.count}});
    return Status();
  }

  Memory<T> MakeMemory(const T* data) const { return {data, memory_sentences, memory_lag}; }
};

template <typename Device, typename TensorType>
class DecoderLayerOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit DecoderLayerOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
    OP_REQUIRES_OK(construction, construction->GetAttr("save_reserve", &save_reserve_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs<Device, T> inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, kForwardStart, options_, device));
    const DecoderLayer<Device, T> layer(
        device->device(), inputs.options, inputs.sentences,
        inputs.MakeMemory(device->template Read<T>(context->input(3))), inputs.weights.data());
    Tensor* y;
    void* reserve;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, context->input(0).shape(), &y));
    LayerReserve<T, Device, DecoderLayer> kept(device, layer, inputs.weights);
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
class DecoderLayerGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit DecoderLayerGradOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs<Device, T> inputs;
    const Tensor& dy = context->input(0);
    const Tensor& x = context->input(1);
    const Tensor& memory = context->input(4);
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, kGradientStart, options_, device));
    TF_LS_RETURN_IF_ERROR(CheckShape(dy, x.shape(), "dy"));
    const DecoderLayer<Device, T> layer(device->device(), inputs.options, inputs.sentences,
                                        inputs.MakeMemory(device->template Read<T>(memory)),
                                        inputs.weights.data());
    const T* const x_data = device->template Read<T>(x);
    const void* reserve;
    LayerReserve<T, Device, DecoderLayer> kept(device, layer, inputs.weights);
    TF_LS_RETURN_IF_ERROR(kept.Read(context->input(9), x_data, x.NumElements(), &reserve));
    Tensor* dx;
    Tensor* dmemory;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &dx));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, memory.shape(), &dmemory));
    LayerGradients gradients;
    TF_LS_RETURN_IF_ERROR(gradients.Allocate(context, device));
    layer.Backward(x_data, reserve, device->template Read<T>(dy), device->template Write<T>(dx),
                   device->template Write<T>(dmemory), gradients.data());
    return Status();
  }

 private:
  LayerOptions options_;
};

TF_LS_REGISTER_FOR_FLOATS("LSDecoderLayer", DecoderLayerOp,
                          .HostMemory("offsets")
                              .HostMemory("lengths")
                              .HostMemory("memory_offsets")
                              .HostMemory("memory_lengths")
                              .HostMemory("memory_lag")
                              .HostMemory("seed"))
TF_LS_REGISTER_FOR_FLOATS("LSDecoderLayerGrad", DecoderLayerGradOp,
                          .HostMemory("offsets")
                              .HostMemory("lengths")
                              .HostMemory("memory_offsets")
                              .HostMemory("memory_lengths")
                              .HostMemory("memory_lag")
                              .HostMemory("seed"))

}  // namespace
}  // namespace tf_ls
