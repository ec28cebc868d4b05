#include "cc/kernels/cross_entropy.h"
#include "cc/ops/cross_entropy_inputs.h"
#include "cc/ops/device_kernel.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// logits [..., V], labels and label_weights [...].
Status CheckShapes(InferenceContext* c, int logits_input, ShapeHandle* rows) {
  ShapeHandle logits;
  TF_LS_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(logits_input), 1, &logits));
  TF_LS_RETURN_IF_ERROR(c->Subshape(logits, 0, -1, rows));
  TF_LS_RETURN_IF_ERROR(c->Merge(*rows, c->input(logits_input + 1), rows));
  return c->Merge(*rows, c->input(logits_input + 2), rows);
}

REGISTER_OP("LSCrossEntropy")
    .Input("logits: T")
    .Input("labels: L")
    .Input("label_weights: float")
    .Output("losses: float")
    .Output("nlls: float")
    .Output("statistics: float")
    .Attr("T: {float, half, bfloat16}")
    .Attr("L: {int32, int64}")
    .Attr("label_smoothing: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 0, &rows));
      c->set_output(0, rows);
      c->set_output(1, rows);
      c->set_output(2, c->Matrix(InferenceContext::kUnknownDim, 2));
      return Status();
    });

REGISTER_OP("LSCrossEntropyGrad")
    .Input("dlosses: float")
    .Input("dnlls: float")
    .Input("logits: T")
    .Input("labels: L")
    .Input("label_weights: float")
    .Input("statistics: float")
    .Output("dlogits: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("L: {int32, int64}")
    .Attr("label_smoothing: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 2, &rows));
      TF_LS_RETURN_IF_ERROR(c->Merge(rows, c->input(0), &rows));
      TF_LS_RETURN_IF_ERROR(c->Merge(rows, c->input(1), &rows));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(5), 2, &rows));
      c->set_output(0, c->input(2));
      return Status();
    });

// Checks logits, labels and weights against each other.
Status ReadInputs(const Tensor& logits, const Tensor& labels, const Tensor& weights,
                  float smoothing, LabelInputs* inputs) {
  if (logits.dims() < 1) {
    return InvalidArgument("logits must have rank 1 or more, got shape ",
                           logits.shape().DebugString());
  }
  TensorShape rows = logits.shape();
  rows.RemoveLastDims(1);
  TF_LS_RETURN_IF_ERROR(CheckShape(labels, rows, "labels"));
  return inputs->Read(labels, weights, logits.dim_size(logits.dims() - 1), smoothing);
}

template <typename Device, typename TensorType>
class CrossEntropyOp : public LabelSmoothingKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using LabelSmoothingKernel<Device>::LabelSmoothingKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& logits = context->input(0);
    const Tensor& labels = context->input(1);
    LabelInputs inputs;
    TF_LS_RETURN_IF_ERROR(
        ReadInputs(logits, labels, context->input(2), this->label_smoothing(), &inputs));
    const CrossEntropyTargets targets = inputs.Bring(device);
    Tensor *losses, *nlls, *statistics;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, labels.shape(), &losses));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, labels.shape(), &nlls));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, {labels.NumElements(), 2}, &statistics));
    CrossEntropy<T>(device->device(), targets, device->template Read<T>(logits),
                    losses->flat<float>().data(), nlls->flat<float>().data(),
                    statistics->flat<float>().data());
    return Status();
  }
};

template <typename Device, typename TensorType>
class CrossEntropyGradOp : public LabelSmoothingKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using LabelSmoothingKernel<Device>::LabelSmoothingKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& dlosses = context->input(0);
    const Tensor& dnlls = context->input(1);
    const Tensor& logits = context->input(2);
    const Tensor& labels = context->input(3);
    const Tensor& statistics = context->input(5);
    LabelInputs inputs;
    TF_LS_RETURN_IF_ERROR(
        ReadInputs(logits, labels, context->input(4), this->label_smoothing(), &inputs));
    TF_LS_RETURN_IF_ERROR(CheckShape(dlosses, labels.shape(), "dlosses"));
    TF_LS_RETURN_IF_ERROR(CheckShape(dnlls, labels.shape(), "dnlls"));
    TF_LS_RETURN_IF_ERROR(CheckShape(statistics, {labels.NumElements(), 2}, "statistics"));
    const CrossEntropyTargets targets = inputs.Bring(device);
    const T* const logits_data = device->template Read<T>(logits);
    // Takes over the logits' memory if nobody else wants them, as in a training step.
    Tensor* dlogits;
    TF_LS_RETURN_IF_ERROR(
        context->forward_input_or_allocate_output({2}, 0, logits.shape(), &dlogits));
    CrossEntropyGradient<T>(device->device(), targets, logits_data, statistics.flat<float>().data(),
                            dlosses.flat<float>().data(), dnlls.flat<float>().data(),
                            device->template Write<T>(dlogits));
    return Status();
  }
};

TF_LS_REGISTER_FOR_FLOATS("LSCrossEntropy", CrossEntropyOp,
                          .HostMemory("labels").HostMemory("label_weights"))
TF_LS_REGISTER_FOR_FLOATS("LSCrossEntropyGrad", CrossEntropyGradOp,
                          .HostMemory("labels").HostMemory("label_weights"))

}  // namespace
}  // namespace tf_ls
