#include <vector>

#include "cc/kernels/loss_factor.h"
#include "cc/kernels/projected_cross_entropy.h"
#include "cc/kernels/scale.h"
#include "cc/ops/cross_entropy_inputs.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/projection_inputs.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::OpOutputList;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// x, indices, weights, bias, labels and label_weights, from input `first` on.
Status CheckShapes(InferenceContext* c, int first, int* labels_input) {
  ShapeHandle ignored;
  int biases;
  TF_LS_RETURN_IF_ERROR(CheckProjectionShapes(c, first, first + 2));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("B", &biases));
  if (biases > 1) return InvalidArgument("there is at most one bias, got ", biases);
  if (biases == 1) {
    const auto vocab = c->Vector(c->Dim(c->input(first + 2), 0));
    TF_LS_RETURN_IF_ERROR(c->Merge(c->input(first + 3), vocab, &ignored));
  }
  *labels_input = first + 3 + biases;
  return c->Merge(c->input(*labels_input), c->input(*labels_input + 1), &ignored);
}

REGISTER_OP("LSProjectedCrossEntropy")
    .Input("x: T")
    .Input("indices: int32")
    .Input("weights: W")
    .Input("bias: B * W")
    .Input("labels: L")
    .Input("label_weights: float")
    .Output("losses: float")
    .Output("nlls: float")
    .Output("reserve: uint8")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("L: {int32, int64}")
    .Attr("B: int >= 0")
    .Attr("label_smoothing: float = 0.0")
    .Attr("save_reserve: bool = false")
    .SetShapeFn([](InferenceContext* c) {
      int labels;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 0, &labels));
      c->set_output(0, c->input(labels));
      c->set_output(1, c->input(labels));
      c->set_output(2, c->Vector(InferenceContext::kUnknownDim));
      return Status();
    });

REGISTER_OP("LSProjectedCrossEntropyGrad")
    .Input("dlosses: float")
    .Input("dnlls: float")
    .Input("x: T")
    .Input("indices: int32")
    .Input("weights: W")
    .Input("bias: B * W")
    .Input("labels: L")
    .Input("label_weights: float")
    .Input("reserve: uint8")
    .Output("dx: T")
    .Output("dweights: W")
    .Output("dbias: B * W")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("L: {int32, int64}")
    .Attr("B: int >= 0")
    .Attr("label_smoothing: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      int labels;
      ShapeHandle ignored;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 2, &labels));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(labels), &ignored));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(1), c->input(labels), &ignored));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(labels + 2), 1, &ignored));
      c->set_output(0, c->input(2));
      c->set_output(1, c->input(4));
      if (c->num_outputs() > 2) c->set_output(2, c->input(5));
      return Status();
    });

// Inputs that forward and gradient share, from input `first` on.
struct Inputs {
  OutputProjectionShape shape;
  OpInputList bias;
  LabelInputs labels;

  Status Read(OpKernelContext* context, int first, float smoothing) {
    const Tensor& weights = context->input(first + 2);
    TF_LS_RETURN_IF_ERROR(context->input_list("bias", &bias));
    const Tensor& label_ids = context->input(first + 3 + bias.size());
    TF_LS_RETURN_IF_ERROR(ReadProjection(context->input(first), context->input(first + 1), weights,
                                         label_ids.NumElements(), &shape));
    TF_LS_RETURN_IF_ERROR(CheckIndicesDiffer());
    if (bias.size() > 0) TF_LS_RETURN_IF_ERROR(CheckShape(bias[0], {shape.vocab_size}, "bias"));
    return labels.Read(label_ids, context->input(first + 4 + bias.size()), shape.vocab_size,
                       smoothing);
  }

  // Targets where kernels on `device` read them; the shape's indices go there too.
  template <typename Device>
  CrossEntropyTargets Bring(DeviceContext<Device>* device) {
    device->Bring({{&shape.indices, shape.rows}});
    return labels.Bring(device);
  }

  Status CheckIndicesDiffer() const {
    std::vector<bool> taken(shape.positions, false);
    for (int64_t i = 0; i < shape.rows; ++i) {
      const int32_t index = shape.indices[i];
      if (index < 0) continue;
      if (taken[index]) return InvalidArgument("index ", i, " is that of another row: ", index);
      taken[index] = true;
    }
    return Status();
  }
};

// What the forward pass keeps: the gradients of the sum of all losses.
struct SumGradient {
  float *dx, *dweights, *dbias;
  size_t bytes;

  // Without a buffer only `bytes` is of use.
  SumGradient(const OutputProjectionShape& shape, bool bias, void* buffer) {
    BufferCutter cutter(buffer);
    dx = cutter.Cut<float>(shape.rows * shape.hidden_size);
    dweights = cutter.Cut<float>(shape.vocab_size * shape.hidden_size);
    dbias = cutter.Cut<float>(bias ? shape.vocab_size : 0);
    bytes = cutter.used();
    if (!bias) dbias = nullptr;
  }

  ProjectionGradient Of(const float* dlosses, const float* dnlls) const {
    return {dlosses, dnlls, dx, dweights, dbias};
  }
};

template <typename Device, typename TensorType>
class ProjectedCrossEntropyOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit ProjectedCrossEntropyOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLabelSmoothing(construction, &label_smoothing_));
    OP_REQUIRES_OK(construction, construction->GetAttr("save_reserve", &save_reserve_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, 0, label_smoothing_));
    const bool bias = inputs.bias.size() > 0;
    const auto& label_shape = context->input(3 + inputs.bias.size()).shape();
    const int64_t bytes = SumGradient(inputs.shape, bias, nullptr).bytes;
    Tensor *losses, *nlls, *reserve;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, label_shape, &losses));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, label_shape, &nlls));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, {save_reserve_ ? bytes : 0}, &reserve));
    const CrossEntropyTargets targets = inputs.Bring(device);
    const ProjectionGradient gradient =
        SumGradient(inputs.shape, bias, reserve->data()).Of(nullptr, nullptr);
    ProjectedCrossEntropy<T>(
        device->device(), inputs.shape, targets, device->template Read<T>(context->input(0)),
        device->Float(context->input(2)), bias ? device->Float(inputs.bias[0]) : nullptr,
        losses->flat<float>().data(), nlls->flat<float>().data(),
        save_reserve_ ? &gradient : nullptr);
    return Status();
  }

 private:
  float label_smoothing_;
  bool save_reserve_;
};

template <typename Device, typename TensorType>
class ProjectedCrossEntropyGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit ProjectedCrossEntropyGradOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadLabelSmoothing(construction, &label_smoothing_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& dlosses = context->input(0);
    const Tensor& dnlls = context->input(1);
    const Tensor& x = context->input(2);
    const Tensor& weights = context->input(4);
    Inputs inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, 2, label_smoothing_));
    const bool bias = inputs.bias.size() > 0;
    const Tensor& labels = context->input(5 + inputs.bias.size());
    const Tensor& reserve = context->input(7 + inputs.bias.size());
    TF_LS_RETURN_IF_ERROR(CheckShape(dlosses, labels.shape(), "dlosses"));
    TF_LS_RETURN_IF_ERROR(CheckShape(dnlls, labels.shape(), "dnlls"));
    const int64_t bytes = SumGradient(inputs.shape, bias, nullptr).bytes;
    void* kept = reserve.data();
    if (reserve.NumElements() > 0) TF_LS_RETURN_IF_ERROR(CheckShape(reserve, {bytes}, "reserve"));
    const float* const dlosses_data = dlosses.flat<float>().data();
    const float* const dnlls_data = dnlls.flat<float>().data();
    const CrossEntropyTargets targets = inputs.Bring(device);
    Arena* const arena = device->device().arena;
    LossFactor found = {};
    if (reserve.NumElements() > 0) {
      auto* const on_device = arena->template Allocate<LossFactor>(1);
      FindLossFactor(device->device(), inputs.shape, targets, dlosses_data, dnlls_data, on_device);
      found = device->Fetch(on_device);
    }
    const float factor = found.exists ? found.value : 1.0f;
    if (!found.exists) {
      kept = arena->template Allocate<unsigned char>(bytes);
      const ProjectionGradient gradient =
          SumGradient(inputs.shape, bias, kept).Of(dlosses_data, dnlls_data);
      ProjectedCrossEntropy<T>(device->device(), inputs.shape, targets, device->template Read<T>(x),
                               device->Float(weights),
                               bias ? device->Float(inputs.bias[0]) : nullptr,
                               arena->template Allocate<float>(inputs.shape.positions),
                               arena->template Allocate<float>(inputs.shape.positions), &gradient);
    }
    Tensor *dx, *dweights, *dbias;
    OpOutputList biases;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &dx));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, weights.shape(), &dweights));
    TF_LS_RETURN_IF_ERROR(context->output_list("dbias", &biases));
    const SumGradient sum(inputs.shape, bias, kept);
    Scale(device->device(), sum.dx, x.NumElements(), factor, device->template Write<T>(dx));
    Scale(device->device(), sum.dweights, weights.NumElements(), factor,
          device->template Write<float>(dweights));
    if (bias) {
      TF_LS_RETURN_IF_ERROR(biases.allocate(0, {inputs.shape.vocab_size}, &dbias));
      Scale(device->device(), sum.dbias, inputs.shape.vocab_size, factor,
            device->template Write<float>(dbias));
    }
    return Status();
  }

 private:
  float label_smoothing_;
};

TF_LS_REGISTER_FOR_FLOATS("LSProjectedCrossEntropy", ProjectedCrossEntropyOp,
                          .HostMemory("indices").HostMemory("labels").HostMemory("label_weights"))
TF_LS_REGISTER_FOR_FLOATS("LSProjectedCrossEntropyGrad", ProjectedCrossEntropyGradOp,
                          .HostMemory("indices").HostMemory("labels").HostMemory("label_weights"))

}  // namespace
}  // namespace tf_ls
