#include "cc/layers/decoder_step.h"
#include "cc/ops/device_kernel.h"
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

// Checks the inputs from x on, which begin at `first`; *keys becomes the shape of a cache that has
// grown by x.
Status CheckShapes(InferenceContext* c, int first, ShapeHandle* keys) {
  int memories, weights;
  TF_LS_RETURN_IF_ERROR(c->GetAttr("M", &memories));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("N", &weights));
  if (memories != 0 && memories != 2) {
    return InvalidArgument("memory must be a list of keys and values, or empty, got ", memories,
                           " tensors");
  }
  ShapeHandle x, ignored;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first), 3, &x));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + 1), 4, keys));
  TF_LS_RETURN_IF_ERROR(c->Merge(*keys, c->input(first + 2), keys));
  for (int i = first + 3; i < first + 3 + memories; ++i)
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(i), 4, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + 3 + memories), 1, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(first + 4 + memories), 0, &ignored));
  TF_LS_RETURN_IF_ERROR(CheckWeightShapes(c, first + 5 + memories, weights, c->Dim(x, 2),
                                          memories > 0, c->UnknownDim()));
  DimensionHandle length;
  TF_LS_RETURN_IF_ERROR(c->Add(c->Dim(*keys, 1), c->Dim(x, 1), &length));
  return c->ReplaceDim(*keys, 1, length, keys);
}

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
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox', 'silu'} = 'relu'")
    .Attr("epsilon: float = 1e-6")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle keys;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 0, &keys));
      c->set_output(0, c->input(0));
      c->set_output(1, keys);
      c->set_output(2, keys);
      return Status();
    });

REGISTER_OP("LSDecoderLayerStepGrad")
    .Input("dy: T")
    .Input("dkeys: T")
    .Input("dvalues: T")
    .Input("x: T")
    .Input("cache_keys: T")
    .Input("cache_values: T")
    .Input("memory: M * T")
    .Input("memory_lengths: int32")
    .Input("memory_lag: int32")
    .Input("weights: N * W")
    .Output("dx: T")
    .Output("dcache_keys: T")
    .Output("dcache_values: T")
    .Output("dmemory: M * T")
    .Output("dweights: N * W")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("M: int >= 0")
    .Attr("N: int >= 1")
    .Attr("num_heads: int >= 1")
    .Attr("pre_norm: bool = true")
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox', 'silu'} = 'relu'")
    .Attr("epsilon: float = 1e-6")
    .SetShapeFn([](InferenceContext* c) {
      constexpr int kFirst = 3;
      ShapeHandle keys, ignored;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, kFirst, &keys));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(kFirst), &ignored));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(1), keys, &ignored));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(2), keys, &ignored));
      int memories;
      TF_LS_RETURN_IF_ERROR(c->GetAttr("M", &memories));
      const int first_weight = kFirst + 5 + memories;
      for (int i = 0; i < 3 + memories; ++i) c->set_output(i, c->input(kFirst + i));
      for (int i = 0; first_weight + i < c->num_inputs(); ++i)
        c->set_output(3 + memories + i, c->input(first_weight + i));
      return Status();
    });

// The inputs that forward and gradient share.
template <typename Device, typename T>
struct Inputs {
  LayerOptions options;
  const Tensor* x;
  const Tensor* cache_keys;
  const Tensor* cache_values;
  OpInputList memory;
  ProjectedMemory<T> projected;
  LayerWeights weights;

  Status Read(OpKernelContext* context, const LayerOptions& attributes,
              DeviceContext<Device>* device) {
    options = attributes;
    TF_LS_RETURN_IF_ERROR(context->input("x", &x));
    TF_LS_RETURN_IF_ERROR(context->input("cache_keys", &cache_keys));
    TF_LS_RETURN_IF_ERROR(context->input("cache_values", &cache_values));
    TF_LS_RETURN_IF_ERROR(CheckRank(*x, 3, "x"));
    TF_LS_RETURN_IF_ERROR(CheckRank(*cache_keys, 4, "cache_keys"));
    options.hidden_size = x->dim_size(2);
    TF_LS_RETURN_IF_ERROR(CheckShape(*cache_keys, Heads(cached()), "cache_keys"));
    TF_LS_RETURN_IF_ERROR(CheckShape(*cache_values, Heads(cached()), "cache_values"));
    TF_LS_RETURN_IF_ERROR(context->input_list("memory", &memory));
    if (memory.size() > 0) TF_LS_RETURN_IF_ERROR(ReadMemory(context, device));
    TF_LS_RETURN_IF_ERROR(weights.Read(context, device, &options));
    const std::vector<WeightPiece>& pieces = weights.pieces();
    device->template PrepareWeights<T>(pieces,
                                       device->device().arena->template Allocate<unsigned char>(
                                           device->template PreparedBytes<T>(pieces)));
    if (memory.size() > 0) device->Bring({{&projected.lengths, batch()}});
    return Status();
  }

  int64_t batch() const { return x->dim_size(0); }
  int64_t cached() const { return cache_keys->dim_size(1); }
  int64_t added() const { return x->dim_size(1); }
  TensorShape Heads(int64_t rows) const {
    return {batch(), rows, options.num_heads, options.head_size()};
  }
  TensorShape GrownCache() const { return Heads(cached() + added()); }
  KeysAndValues<const T*> Cache(DeviceContext<Device>* device) const {
    return {device->template Read<T>(*cache_keys), device->template Read<T>(*cache_values)};
  }

  DecoderStep<Device, T> MakeStep(const Device& device) const {
    return {device,        options, batch(),
            cached(),      added(), memory.size() > 0 ? &projected : nullptr,
            weights.data()};
  }

 private:
  Status ReadMemory(OpKernelContext* context, DeviceContext<Device>* device) {
    TF_LS_RETURN_IF_ERROR(CheckRank(memory[0], 4, "memory keys"));
    projected.length = memory[0].dim_size(1);
    TF_LS_RETURN_IF_ERROR(CheckShape(memory[0], Heads(projected.length), "memory keys"));
    TF_LS_RETURN_IF_ERROR(CheckShape(memory[1], Heads(projected.length), "memory values"));
    const Tensor *lengths, *lag;
    TF_LS_RETURN_IF_ERROR(context->input("memory_lengths", &lengths));
    TF_LS_RETURN_IF_ERROR(context->input("memory_lag", &lag));
    TF_LS_RETURN_IF_ERROR(CheckShape(*lengths, {batch()}, "memory_lengths"));
    projected.lengths = lengths->flat<int32_t>().data();
    for (int64_t i = 0; i < batch(); ++i) {
      if (projected.lengths[i] < 0 || projected.lengths[i] > projected.length) {
        return InvalidArgument("memory length ", i, " must be from 0 to ", projected.length,
                               ", got ", projected.lengths[i]);
      }
    }
    TF_LS_RETURN_IF_ERROR(ReadLag(*lag, &projected.lag));
    projected.projected = {device->template Read<T>(memory[0]),
                           device->template Read<T>(memory[1])};
    return ReadMemorySize(context);
  }

  // The memory's own size shows only in the weights that would project it.
  Status ReadMemorySize(OpKernelContext* context) {
    constexpr int kKvKernel = 10;
    OpInputList inputs;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &inputs));
    if (inputs.size() <= kKvKernel) {
      return InvalidArgument("a layer with cross-attention has 20 weights, got ", inputs.size());
    }
    TF_LS_RETURN_IF_ERROR(CheckRank(inputs[kKvKernel], 2, "cross-attention kv kernel"));
    options.memory_size = inputs[kKvKernel].dim_size(0);
    return Status();
  }
};

template <typename Device, typename TensorType>
class DecoderLayerStepOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit DecoderLayerStepOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs<Device, T> inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, options_, device));
    Tensor *y, *keys, *values;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, inputs.x->shape(), &y));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, inputs.GrownCache(), &keys));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, inputs.GrownCache(), &values));
    inputs.MakeStep(device->device())
        .Forward(device->template Read<T>(*inputs.x), inputs.Cache(device),
                 {device->template Write<T>(keys), device->template Write<T>(values)},
                 device->template Write<T>(y));
    return Status();
  }

 private:
  LayerOptions options_;
};

template <typename Device, typename TensorType>
class DecoderLayerStepGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit DecoderLayerStepGradOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs<Device, T> inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, options_, device));
    const Tensor& dy = context->input(0);
    const Tensor& dkeys = context->input(1);
    const Tensor& dvalues = context->input(2);
    TF_LS_RETURN_IF_ERROR(CheckShape(dy, inputs.x->shape(), "dy"));
    TF_LS_RETURN_IF_ERROR(CheckShape(dkeys, inputs.GrownCache(), "dkeys"));
    TF_LS_RETURN_IF_ERROR(CheckShape(dvalues, inputs.GrownCache(), "dvalues"));

    Tensor *dx, *dcache_keys, *dcache_values;
    const TensorShape& cache = inputs.cache_keys->shape();
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, inputs.x->shape(), &dx));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, cache, &dcache_keys));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, cache, &dcache_values));
    KeysAndValues<T*> dmemory = {};
    if (inputs.memory.size() > 0) {
      const TensorShape& shape = inputs.memory[0].shape();
      Tensor *dmemory_keys, *dmemory_values;
      TF_LS_RETURN_IF_ERROR(context->allocate_output(3, shape, &dmemory_keys));
      TF_LS_RETURN_IF_ERROR(context->allocate_output(4, shape, &dmemory_values));
      dmemory = {device->template Write<T>(dmemory_keys),
                 device->template Write<T>(dmemory_values)};
    }
    LayerGradients gradients;
    TF_LS_RETURN_IF_ERROR(gradients.Allocate(context, device));
    inputs.MakeStep(device->device())
        .Backward(
            device->template Read<T>(*inputs.x), inputs.Cache(device), device->template Read<T>(dy),
            {device->template Read<T>(dkeys), device->template Read<T>(dvalues)},
            device->template Write<T>(dx),
            {device->template Write<T>(dcache_keys), device->template Write<T>(dcache_values)},
            dmemory, gradients.data());
    return Status();
  }

 private:
  LayerOptions options_;
};

TF_LS_REGISTER_FOR_FLOATS("LSDecoderLayerStep", DecoderLayerStepOp,
                          .HostMemory("memory_lengths").HostMemory("memory_lag"))
TF_LS_REGISTER_FOR_FLOATS("LSDecoderLayerStepGrad", DecoderLayerStepGradOp,
                          .HostMemory("memory_lengths").HostMemory("memory_lag"))

}  // namespace
}  // namespace tf_ls
