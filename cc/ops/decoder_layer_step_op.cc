#include "cc/layers/decoder_step.h"
#include "cc/ops/cpu_kernel.h"
#include "cc/ops/layer_weights.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

REGISTER_OP("LSDecoderLayerStep")
    .Input("x: T")
    .Input("cache_keys: T")
    .Input("cache_values: T")
    .Input("memory: M * T")
    .Input("memory_lengths: int32")
    .Input("memory_lag: int32")
    .Input("weights: N * W")
    .Output("y: T")
    .Output("keys: T")
    .Output("values: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("M: int >= 0")
    .Attr("N: int >= 1")
    .Attr("num_heads: int >= 1")
    .Attr("pre_norm: bool = true")
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox'} = 'relu'")
    .Attr("epsilon: float = 1e-6")
    .SetShapeFn([](InferenceContext* c) {
      int memories, weights;
      TF_LS_RETURN_IF_ERROR(c->GetAttr("M", &memories));
      TF_LS_RETURN_IF_ERROR(c->GetAttr("N", &weights));
      if (memories != 0 && memories != 2) {
        return InvalidArgument("memory must be a list of keys and values, or empty, got ", memories,
                               " tensors");
      }
      ShapeHandle x, keys, ignored;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &x));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &keys));
      TF_LS_RETURN_IF_ERROR(c->Merge(keys, c->input(2), &keys));
      for (int i = 3; i < 3 + memories; ++i)
        TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(i), 4, &ignored));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(3 + memories), 1, &ignored));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(4 + memories), 0, &ignored));
      TF_LS_RETURN_IF_ERROR(
          CheckWeightShapes(c, 5 + memories, weights, c->Dim(x, 2), memories > 0, c->UnknownDim()));
      DimensionHandle length;
      TF_LS_RETURN_IF_ERROR(c->Add(c->Dim(keys, 1), c->Dim(x, 1), &length));
      TF_LS_RETURN_IF_ERROR(c->ReplaceDim(keys, 1, length, &keys));
      c->set_output(0, x);
      c->set_output(1, keys);
      c->set_output(2, keys);
      return Status();
    });

template <typename TensorType>
class DecoderLayerStepOp : public CpuKernel {
  using T = typename ComputeType<TensorType>::type;

 public:
  explicit DecoderLayerStepOp(OpKernelConstruction* construction) : CpuKernel(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
  }

 protected:
  Status Run(OpKernelContext* context, CpuContext* cpu) override {
    const Tensor& x = context->input(0);
    const Tensor& keys = context->input(1);
    const Tensor& values = context->input(2);
    TF_LS_RETURN_IF_ERROR(CheckRank(x, 3, "x"));
    TF_LS_RETURN_IF_ERROR(CheckRank(keys, 4, "cache_keys"));
    const int64_t batch = x.dim_size(0);
    const int64_t added = x.dim_size(1);
    const int64_t length = keys.dim_size(1);
    LayerOptions options = options_;
    options.hidden_size = x.dim_size(2);
    const auto heads = [&](int64_t rows) {
      return TensorShape({batch, rows, options.num_heads, options.head_size()});
    };
    TF_LS_RETURN_IF_ERROR(CheckShape(keys, heads(length), "cache_keys"));
    TF_LS_RETURN_IF_ERROR(CheckShape(values, heads(length), "cache_values"));

    OpInputList memories;
    TF_LS_RETURN_IF_ERROR(context->input_list("memory", &memories));
    ProjectedMemory<T> memory;
    if (memories.size() > 0) {
      TF_LS_RETURN_IF_ERROR(CheckRank(memories[0], 4, "memory keys"));
      memory.length = memories[0].dim_size(1);
      TF_LS_RETURN_IF_ERROR(CheckShape(memories[0], heads(memory.length), "memory keys"));
      TF_LS_RETURN_IF_ERROR(CheckShape(memories[1], heads(memory.length), "memory values"));
      const Tensor& lengths = context->input(5);
      TF_LS_RETURN_IF_ERROR(CheckShape(lengths, {batch}, "memory_lengths"));
      memory.lengths = lengths.flat<int32_t>().data();
      for (int64_t i = 0; i < batch; ++i) {
        if (memory.lengths[i] < 0 || memory.lengths[i] > memory.length) {
          return InvalidArgument("memory length ", i, " must be from 0 to ", memory.length,
                                 ", got ", memory.lengths[i]);
        }
      }
      TF_LS_RETURN_IF_ERROR(ReadLag(context->input(6), &memory.lag));
      memory.keys = cpu->Read<T>(memories[0]);
      memory.values = cpu->Read<T>(memories[1]);
      TF_LS_RETURN_IF_ERROR(ReadMemorySize(context, &options));
    }
    LayerWeights weights;
    TF_LS_RETURN_IF_ERROR(weights.Read(context, cpu, &options));

    Tensor *y, *new_keys, *new_values;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &y));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, heads(length + added), &new_keys));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, heads(length + added), &new_values));
    const DecoderStep<Cpu, T> step(cpu->cpu(), options, batch, added, weights.data());
    step.Run(cpu->Read<T>(x),
             {cpu->Read<T>(keys), cpu->Read<T>(values), length, cpu->Write<T>(new_keys),
              cpu->Write<T>(new_values)},
             memories.size() > 0 ? &memory : nullptr, cpu->Write<T>(y));
    return Status();
  }

 private:
  // The memory's own size shows only in the weights that would project it.
  static Status ReadMemorySize(OpKernelContext* context, LayerOptions* options) {
    constexpr int kKvKernel = 10;
    OpInputList weights;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &weights));
    if (weights.size() <= kKvKernel) {
      return InvalidArgument("a layer with cross-attention has 20 weights, got ", weights.size());
    }
    TF_LS_RETURN_IF_ERROR(CheckRank(weights[kKvKernel], 2, "cross-attention kv kernel"));
    options->memory_size = weights[kKvKernel].dim_size(0);
    return Status();
  }

  LayerOptions options_;
};

TF_LS_REGISTER_FOR_FLOATS("LSDecoderLayerStep", DecoderLayerStepOp);

}  // namespace
}  // namespace tf_ls
