#include "cc/kernels/output_projection.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/projection_inputs.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

REGISTER_OP("LSOutputProjection")
    .Input("x: T")
    .Input("indices: int32")
    .Input("weights: W")
    .Input("bias: B * W")
    .Input("batch_and_length: int32")
    .Output("logits: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("B: int >= 0")
    .SetShapeFn([](InferenceContext* c) {
      TF_LS_RETURN_IF_ERROR(CheckProjectionShapes(c, 0, 2));
      int biases;
      TF_LS_RETURN_IF_ERROR(c->GetAttr("B", &biases));
      const DimensionHandle vocab = c->Dim(c->input(2), 0);
      ShapeHandle shape, ignored;
      if (biases > 1) return InvalidArgument("there is at most one bias, got ", biases);
      if (biases == 1) TF_LS_RETURN_IF_ERROR(c->Merge(c->input(3), c->Vector(vocab), &ignored));
      TF_LS_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(3 + biases, &shape));
      TF_LS_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      c->set_output(0, c->MakeShape({c->Dim(shape, 0), c->Dim(shape, 1), vocab}));
      return Status();
    });

REGISTER_OP("LSOutputProjectionGrad")
    .Input("dlogits: T")
    .Input("x: T")
    .Input("indices: int32")
    .Input("weights: W")
    .Output("dx: T")
    .Output("dweights: W")
    .Output("dbias: B * W")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    .Attr("B: int >= 0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle ignored;
      TF_LS_RETURN_IF_ERROR(CheckProjectionShapes(c, 1, 3));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &ignored));
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(3));
      if (c->num_outputs() > 2) c->set_output(2, c->Vector(c->Dim(c->input(3), 0)));
      return Status();
    });

template <typename Device, typename TensorType>
class OutputProjectionOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using DeviceKernel<Device>::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& x = context->input(0);
    const Tensor& weights = context->input(2);
    tensorflow::OpInputList bias;
    TF_LS_RETURN_IF_ERROR(context->input_list("bias", &bias));
    int64_t batch, length;
    TF_LS_RETURN_IF_ERROR(ReadBatchAndLength(context->input(3 + bias.size()), &batch, &length));
    OutputProjectionShape shape;
    TF_LS_RETURN_IF_ERROR(ReadProjection(x, context->input(1), weights, batch * length, &shape));
    if (bias.size() > 0) TF_LS_RETURN_IF_ERROR(CheckShape(bias[0], {shape.vocab_size}, "bias"));
    device->Bring({{&shape.indices, shape.rows}});
    Tensor* logits;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {batch, length, shape.vocab_size}, &logits));
    OutputProjection<T>(device->device(), shape, device->template Read<T>(x),
                        device->Float(weights), bias.size() > 0 ? device->Float(bias[0]) : nullptr,
                        device->template Write<T>(logits));
    return Status();
  }
};

template <typename Device, typename TensorType>
class OutputProjectionGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using DeviceKernel<Device>::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& dlogits = context->input(0);
    const Tensor& x = context->input(1);
    const Tensor& weights = context->input(3);
    TF_LS_RETURN_IF_ERROR(CheckRank(dlogits, 3, "dlogits"));
    OutputProjectionShape shape;
    TF_LS_RETURN_IF_ERROR(ReadProjection(x, context->input(2), weights,
                                         dlogits.dim_size(0) * dlogits.dim_size(1), &shape));
    TF_LS_RETURN_IF_ERROR(CheckShape(
        dlogits, {dlogits.dim_size(0), dlogits.dim_size(1), shape.vocab_size}, "dlogits"));
    device->Bring({{&shape.indices, shape.rows}});
    Tensor *dx, *dweights, *dbias = nullptr;
    tensorflow::OpOutputList biases;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &dx));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, weights.shape(), &dweights));
    TF_LS_RETURN_IF_ERROR(context->output_list("dbias", &biases));
    if (biases.size() > 0) TF_LS_RETURN_IF_ERROR(biases.allocate(0, {shape.vocab_size}, &dbias));
    OutputProjectionGradient<T>(device->device(), shape, device->template Read<T>(x),
                                device->Float(weights), device->template Read<T>(dlogits),
                                device->template Write<T>(dx),
                                device->template Write<float>(dweights),
                                dbias == nullptr ? nullptr : device->template Write<float>(dbias));
    return Status();
  }
};

TF_LS_REGISTER_FOR_FLOATS("LSOutputProjection", OutputProjectionOp,
                          .HostMemory("indices").HostMemory("batch_and_length"))
TF_LS_REGISTER_FOR_FLOATS("LSOutputProjectionGrad", OutputProjectionGradOp, .HostMemory("indices"))

}  // namespace
}  // namespace tf_ls
