#include "cc/layers/decoder_layer.h"
#include "cc/ops/cpu_kernel.h"
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
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox'} = 'relu'")
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
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox'} = 'relu'")
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

struct Inputs {
  LayerOptions options;
  Sentences sentences;
  Sentences memory_sentences;
  int64_t memory_lag;
  LayerWeights weights;

  static Status Read(OpKernelContext* context, int first, const LayerOptions& attributes,
                     CpuContext* cpu, Inputs* inputs) {
    inputs->options = attributes;
    inputs->options.causal = true;
    const Tensor& x = context->input(first);
    const Tensor& memory = context->input(first + 3);
    TF_LS_RETURN_IF_ERROR(CheckRank(x, 2, "x"));
    TF_LS_RETURN_IF_ERROR(CheckRank(memory, 2, "memory"));
    inputs->options.hidden_size = x.dim_size(1);
    inputs->options.memory_size = memory.dim_size(1);
    if (memory.dim_size(1) < 1) {
      return tensorflow::errors::InvalidArgument("memory must have columns, got shape ",
                                                 memory.shape().DebugString());
    }
    TF_LS_RETURN_IF_ERROR(ReadSentences(context->input(first + 1), context->input(first + 2),
                                        x.dim_size(0), "x's", &inputs->sentences));
    TF_LS_RETURN_IF_ERROR(ReadSentences(context->input(first + 4), context->input(first + 5),
                                        memory.dim_size(0), "memory's", &inputs->memory_sentences));
    if (inputs->sentences.count != inputs->memory_sentences.count) {
      return tensorflow::errors::InvalidArgument("x and memory must have as many sentences, got ",
                                                 inputs->sentences.count, " and ",
                                                 inputs->memory_sentences.count);
    }
    TF_LS_RETURN_IF_ERROR(ReadLag(context->input(first + 6), &inputs->memory_lag));
    TF_LS_RETURN_IF_ERROR(ReadSeed(context->input(first + 7), &inputs->options.seed));
    return inputs->weights.Read(context, cpu, &inputs->options);
  }

  template <typename T>
  Memory<T> MakeMemory(const T* data) const {
    return {data, memory_sentences, memory_lag};
  }
};

template <typename TensorType>
class DecoderLayerOp : public CpuKernel {
  using T = typename ComputeType<TensorType>::type;

 public:
  explicit DecoderLayerOp(OpKernelConstruction* construction) : CpuKernel(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
    OP_REQUIRES_OK(construction, construction->GetAttr("save_reserve", &save_reserve_));
  }

 protected:
  Status Run(OpKernelContext* context, CpuContext* cpu) override {
    Inputs inputs;
    TF_LS_RETURN_IF_ERROR(Inputs::Read(context, kForwardStart, options_, cpu, &inputs));
    const DecoderLayer<Cpu, T> layer(cpu->cpu(), inputs.options, inputs.sentences,
                                     inputs.MakeMemory(cpu->Read<T>(context->input(3))),
                                     inputs.weights.data());
    Tensor* y;
    void* reserve;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, context->input(0).shape(), &y));
    TF_LS_RETURN_IF_ERROR(AllocateReserve(context, cpu, layer, 1, save_reserve_, &reserve));
    layer.Forward(cpu->Read<T>(context->input(0)), reserve, cpu->Write<T>(y));
    return Status();
  }

 private:
  LayerOptions options_;
  bool save_reserve_;
};

template <typename TensorType>
class DecoderLayerGradOp : public CpuKernel {
  using T = typename ComputeType<TensorType>::type;

 public:
  explicit DecoderLayerGradOp(OpKernelConstruction* construction) : CpuKernel(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
  }

 protected:
  Status Run(OpKernelContext* context, CpuContext* cpu) override {
    Inputs inputs;
    const Tensor& dy = context->input(0);
    const Tensor& x = context->input(1);
    const Tensor& memory = context->input(4);
    TF_LS_RETURN_IF_ERROR(Inputs::Read(context, kGradientStart, options_, cpu, &inputs));
    TF_LS_RETURN_IF_ERROR(CheckShape(dy, x.shape(), "dy"));
    const DecoderLayer<Cpu, T> layer(cpu->cpu(), inputs.options, inputs.sentences,
                                     inputs.MakeMemory(cpu->Read<T>(memory)),
                                     inputs.weights.data());
    const T* const x_data = cpu->Read<T>(x);
    const void* reserve;
    TF_LS_RETURN_IF_ERROR(
        ReadReserve(cpu, layer, context->input(9), x_data, x.NumElements(), &reserve));
    Tensor* dx;
    Tensor* dmemory;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &dx));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, memory.shape(), &dmemory));
    LayerGradients gradients;
    TF_LS_RETURN_IF_ERROR(gradients.Allocate(context, cpu));
    layer.Backward(x_data, reserve, cpu->Read<T>(dy), cpu->Write<T>(dx), cpu->Write<T>(dmemory),
                   gradients.data());
    return Status();
  }

 private:
  LayerOptions options_;
};

TF_LS_REGISTER_FOR_FLOATS("LSDecoderLayer", DecoderLayerOp);
TF_LS_REGISTER_FOR_FLOATS("LSDecoderLayerGrad", DecoderLayerGradOp);

}  // namespace
}  // namespace tf_ls
