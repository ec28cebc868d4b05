#include <vector>

#include "cc/kernels/column_sum.h"
#include "cc/kernels/projected_cross_entropy.h"
#include "cc/kernels/scale.h"
#include "cc/ops/cross_entropy_inputs.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/projection_inputs.h"
#include "tensorflow/core/framework/op.h"

// The losses of labels, whose gradient makes the logits once more; and the sum of all losses, whose
// gradient is computed along with it, but for a factor.
namespace tf_ls {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::OpOutputList;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The bias, if there is one, follows the weights.
Status CheckBiasShape(InferenceContext* c, int weights_input) {
  ShapeHandle ignored;
  int biases;
  TF_LS_RETURN_IF_ERROR(c->GetAttr("B", &biases));
  if (biases > 1) return InvalidArgument("there is at most one bias, got ", biases);
  if (biases == 0) return Status();
  const auto vocab = c->Vector(c->Dim(c->input(weights_input), 0));
  return c->Merge(c->input(weights_input + 1), vocab, &ignored);
}

// x, indices, weights, bias, labels and label_weights, from input `first` on.
Status CheckShapes(InferenceContext* c, int first, ShapeHandle* labels) {
  ShapeHandle ignored;
  int biases;
  TF_LS_RETURN_IF_ERROR(CheckProjectionShapes(c, first, first + 2));
  TF_LS_RETURN_IF_ERROR(CheckBiasShape(c, first + 2));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("B", &biases));
  *labels = c->input(first + 3 + biases);
  return c->Merge(*labels, c->input(first + 4 + biases), &ignored);
}

// Gradients dx, dweights and dbias are shaped as what they belong to.
void SetGradientShapes(InferenceContext* c, int x_input, int weights_input) {
  c->set_output(0, c->input(x_input));
  c->set_output(1, c->input(weights_input));
  if (c->num_outputs() > 2) c->set_output(2, c->input(weights_input + 1));
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
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("L: {int32, int64}")
    .Attr("B: int >= 0")
    .Attr("label_smoothing: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle labels;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 0, &labels));
      c->set_output(0, labels);
      c->set_output(1, labels);
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
    .Output("dx: T")
    .Output("dweights: W")
    .Output("dbias: B * W")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("L: {int32, int64}")
    .Attr("B: int >= 0")
    .Attr("label_smoothing: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle labels, ignored;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 2, &labels));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(0), labels, &ignored));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(1), labels, &ignored));
      SetGradientShapes(c, 2, 4);
      return Status();
    });

REGISTER_OP("LSProjectedCrossEntropySum")
    .Input("x: T")
    .Input("indices: int32")
    .Input("weights: W")
    .Input("bias: B * W")
    .Input("labels: L")
    .Input("label_weights: float")
    .Output("loss: float")
    .Output("nll: float")
    .Output("reserve: uint8")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("L: {int32, int64}")
    .Attr("B: int >= 0")
    .Attr("label_smoothing: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle labels;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 0, &labels));
      c->set_output(0, c->Scalar());
      c->set_output(1, c->Scalar());
      c->set_output(2, c->Vector(InferenceContext::kUnknownDim));
      return Status();
    });

// Of x, weights and bias it takes the shapes.
REGISTER_OP("LSProjectedCrossEntropySumGrad")
    .Input("dloss: float")
    .Input("x: T")
    .Input("weights: W")
    .Input("bias: B * W")
    .Input("reserve: uint8")
    .Output("dx: T")
    .Output("dweights: W")
    .Output("dbias: B * W")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("B: int >= 0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, weights, ignored;
      DimensionHandle hidden;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &ignored));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &x));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &weights));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(x, 1), c->Dim(weights, 1), &hidden));
      TF_LS_RETURN_IF_ERROR(CheckBiasShape(c, 2));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(c->num_inputs() - 1), 1, &ignored));
      SetGradientShapes(c, 1, 2);
      return Status();
    });

Status CheckBias(const OpInputList& bias, int64_t vocab_size) {
  if (bias.size() > 1) return InvalidArgument("there is at most one bias, got ", bias.size());
  return bias.size() == 0 ? Status() : CheckShape(bias[0], {vocab_size}, "bias");
}

// What logits and losses are made of, from input `first` on.
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
    TF_LS_RETURN_IF_ERROR(CheckBias(bias, shape.vocab_size));
    return labels.Read(label_ids, context->input(first + 4 + bias.size()), shape.vocab_size,
                       smoothing);
  }

  template <typename Device>
  const float* Bias(DeviceContext<Device>* device) const {
    return bias.size() > 0 ? device->Float(bias[0]) : nullptr;
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

// Outputs for gradients, of the shapes of what they belong to.
struct GradientOutputs {
  Tensor *dx, *dweights, *dbias = nullptr;

  Status Allocate(OpKernelContext* context, const Tensor& x, const Tensor& weights,
                  const OpInputList& bias) {
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &dx));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, weights.shape(), &dweights));
    if (bias.size() == 0) return Status();
    return context->allocate_output(2, bias[0].shape(), &dbias);
  }
};

template <typename Device, typename TensorType>
class ProjectedCrossEntropyOp : public LabelSmoothingKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using LabelSmoothingKernel<Device>::LabelSmoothingKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    Inputs inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, 0, this->label_smoothing()));
    const auto& label_shape = context->input(3 + inputs.bias.size()).shape();
    Tensor *losses, *nlls;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, label_shape, &losses));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, label_shape, &nlls));
    const CrossEntropyTargets targets = inputs.Bring(device);
    ProjectedCrossEntropy<T>(device->device(), inputs.shape, targets,
                             device->template Read<T>(context->input(0)),
                             device->Float(context->input(2)), inputs.Bias(device),
                             losses->flat<float>().data(), nlls->flat<float>().data(),
                             /*gradient=*/nullptr);
    return Status();
  }
};

template <typename Device, typename TensorType>
class ProjectedCrossEntropyGradOp : public LabelSmoothingKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using LabelSmoothingKernel<Device>::LabelSmoothingKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& dlosses = context->input(0);
    const Tensor& dnlls = context->input(1);
    const Tensor& x = context->input(2);
    const Tensor& weights = context->input(4);
    Inputs inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, 2, this->label_smoothing()));
    const auto& label_shape = context->input(5 + inputs.bias.size()).shape();
    TF_LS_RETURN_IF_ERROR(CheckShape(dlosses, label_shape, "dlosses"));
    TF_LS_RETURN_IF_ERROR(CheckShape(dnlls, label_shape, "dnlls"));
    GradientOutputs outputs;
    TF_LS_RETURN_IF_ERROR(outputs.Allocate(context, x, weights, inputs.bias));
    const CrossEntropyTargets targets = inputs.Bring(device);
    Arena* const arena = device->device().arena;
    float* const dx = arena->template Allocate<float>(x.NumElements());
    const ProjectionGradient gradient = {
        dlosses.flat<float>().data(), dnlls.flat<float>().data(), dx,
        device->template Write<float>(outputs.dweights),
        outputs.dbias == nullptr ? nullptr : device->template Write<float>(outputs.dbias)};
    ProjectedCrossEntropy<T>(device->device(), inputs.shape, targets, device->template Read<T>(x),
                             device->Float(weights), inputs.Bias(device),
                             arena->template Allocate<float>(inputs.shape.positions),
                             arena->template Allocate<float>(inputs.shape.positions), &gradient);
    Scale(device->device(), dx, x.NumElements(), 1.0f, device->template Write<T>(outputs.dx));
    return Status();
  }
};

// What the summed form keeps: the gradient of the sum of all losses.
struct SumGradient {
  float *dx, *dweights, *dbias;
  size_t bytes;

  // Without a buffer only `bytes` is of use.
  SumGradient(const Tensor& x, const Tensor& weights, const OpInputList& bias, void* buffer) {
    BufferCutter cutter(buffer);
    dx = cutter.Cut<float>(x.NumElements());
    dweights = cutter.Cut<float>(weights.NumElements());
    dbias = bias.size() == 0 ? nullptr : cutter.Cut<float>(bias[0].NumElements());
    bytes = cutter.used();
  }
};

template <typename Device, typename TensorType>
class ProjectedCrossEntropySumOp : public LabelSmoothingKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using LabelSmoothingKernel<Device>::LabelSmoothingKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& x = context->input(0);
    const Tensor& weights = context->input(2);
    Inputs inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, 0, this->label_smoothing()));
    const int64_t bytes = SumGradient(x, weights, inputs.bias, nullptr).bytes;
    Tensor *loss, *nll, *reserve;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {}, &loss));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {}, &nll));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, {bytes}, &reserve));
    const CrossEntropyTargets targets = inputs.Bring(device);
    const SumGradient sum(x, weights, inputs.bias, reserve->data());
    const ProjectionGradient gradient = {nullptr, nullptr, sum.dx, sum.dweights, sum.dbias};
    Arena* const arena = device->device().arena;
    float* const losses = arena->template Allocate<float>(targets.rows);
    float* const nlls = arena->template Allocate<float>(targets.rows);
    ProjectedCrossEntropy<T>(device->device(), inputs.shape, targets, device->template Read<T>(x),
                             device->Float(weights), inputs.Bias(device), losses, nlls, &gradient);
    ColumnSums<Device> sums(device->device());
    ColumnSum(device->device(), losses, targets.rows, 1, loss->flat<float>().data(), &sums);
    ColumnSum(device->device(), nlls, targets.rows, 1, nll->flat<float>().data(), &sums);
    sums.Finish();
    return Status();
  }
};

// The kept gradient times dloss, at which only the device looks.
template <typename Device, typename TensorType>
class ProjectedCrossEntropySumGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using DeviceKernel<Device>::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& dloss = context->input(0);
    const Tensor& x = context->input(1);
    const Tensor& weights = context->input(2);
    OpInputList bias;
    TF_LS_RETURN_IF_ERROR(context->input_list("bias", &bias));
    const Tensor& reserve = context->input(3 + bias.size());
    TF_LS_RETURN_IF_ERROR(CheckShape(dloss, {}, "dloss"));
    TF_LS_RETURN_IF_ERROR(CheckRank(x, 2, "x"));
    TF_LS_RETURN_IF_ERROR(CheckRank(weights, 2, "weights"));
    TF_LS_RETURN_IF_ERROR(CheckShape(weights, {weights.dim_size(0), x.dim_size(1)}, "weights"));
    TF_LS_RETURN_IF_ERROR(CheckBias(bias, weights.dim_size(0)));
    const SumGradient sum(x, weights, bias, reserve.data());
    TF_LS_RETURN_IF_ERROR(CheckShape(reserve, {static_cast<int64_t>(sum.bytes)}, "reserve"));
    GradientOutputs outputs;
    TF_LS_RETURN_IF_ERROR(outputs.Allocate(context, x, weights, bias));
    const float* const factor = dloss.flat<float>().data();
    Scale(device->device(), sum.dx, x.NumElements(), factor, device->template Write<T>(outputs.dx));
    Scale(device->device(), sum.dweights, weights.NumElements(), factor,
          device->template Write<float>(outputs.dweights));
    if (outputs.dbias != nullptr) {
      Scale(device->device(), sum.dbias, weights.dim_size(0), factor,
            device->template Write<float>(outputs.dbias));
    }
    return Status();
  }
};

TF_LS_REGISTER_FOR_FLOATS("LSProjectedCrossEntropy", ProjectedCrossEntropyOp,
                          .HostMemory("indices").HostMemory("labels").HostMemory("label_weights"))
TF_LS_REGISTER_FOR_FLOATS("LSProjectedCrossEntropyGrad", ProjectedCrossEntropyGradOp,
                          .HostMemory("indices").HostMemory("labels").HostMemory("label_weights"))
TF_LS_REGISTER_FOR_FLOATS("LSProjectedCrossEntropySum", ProjectedCrossEntropySumOp,
                          .HostMemory("indices").HostMemory("labels").HostMemory("label_weights"))
TF_LS_REGISTER_FOR_FLOATS("LSProjectedCrossEntropySumGrad", ProjectedCrossEntropySumGradOp, )

}  // namespace
}  // namespace tf_ls
