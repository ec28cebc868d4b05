#include "cc/kernels/layer_norm.h"
#include "cc/ops/device_kernel.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// x of rank 1 or more, gamma and beta as long as its rows.
Status CheckShapes(InferenceContext* c, int x_input, std::initializer_list<int> vectors) {
  ShapeHandle x;
  TF_LS_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(x_input), 1, &x));
  DimensionHandle size = c->Dim(x, -1);
  for (const int vector : vectors) {
    ShapeHandle parameter;
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(vector), 1, &parameter));
    TF_LS_RETURN_IF_ERROR(c->Merge(size, c->Dim(parameter, 0), &size));
  }
  return Status();
}

REGISTER_OP("LSLayerNorm")
    .Input("x: T")
    .Input("gamma: float")
    .Input("beta: float")
    .Output("y: T")
    .Output("moments: float")
    .Attr("T: {float, half, bfloat16}")
    .Attr("epsilon: float = 1e-6")
    .SetShapeFn([](InferenceContext* c) {
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 0, {1, 2}));
      c->set_output(0, c->input(0));
      c->set_output(1, c->Matrix(2, InferenceContext::kUnknownDim));
      return Status();
    });

REGISTER_OP("LSLayerNormGrad")
    .Input("dy: T")
    .Input("x: T")
    .Input("gamma: float")
    .Input("moments: float")
    .Output("dx: T")
    .Output("dgamma: float")
    .Output("dbeta: float")
    .Attr("T: {float, half, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle ignored;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, 1, {2}));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &ignored));
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(2));
      c->set_output(2, c->input(2));
      return Status();
    });

// x as rows of numbers.
Status ReadRows(const Tensor& x, int64_t* rows, int64_t* size) {
  if (x.dims() < 1 || x.dim_size(x.dims() - 1) < 1) {
    return InvalidArgument("x must have rows of at least one number, got shape ",
                           x.shape().DebugString());
  }
  *size = x.dim_size(x.dims() - 1);
  *rows = x.NumElements() / *size;
  return Status();
}

template <typename Device, typename TensorType>
class LayerNormOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit LayerNormOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES(construction, epsilon_ > 0.0f,
                InvalidArgument("epsilon must be positive, got ", epsilon_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& x = context->input(0);
    int64_t rows, size;
    TF_LS_RETURN_IF_ERROR(ReadRows(x, &rows, &size));
    TF_LS_RETURN_IF_ERROR(CheckShape(context->input(1), {size}, "gamma"));
    TF_LS_RETURN_IF_ERROR(CheckShape(context->input(2), {size}, "beta"));
    Tensor *y, *moments;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &y));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {2, rows}, &moments));
    float* const statistics = moments->flat<float>().data();
    LayerNorm<T>(device->device(), device->template Read<T>(x), rows, size,
                 device->Float(context->input(1)), device->Float(context->input(2)), epsilon_,
                 device->template Write<T>(y), {statistics, statistics + rows});
    return Status();
  }

 private:
  float epsilon_;
};

template <typename Device, typename TensorType>
class LayerNormGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using DeviceKernel<Device>::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& dy = context->input(0);
    const Tensor& x = context->input(1);
    int64_t rows, size;
    TF_LS_RETURN_IF_ERROR(ReadRows(x, &rows, &size));
    TF_LS_RETURN_IF_ERROR(CheckShape(dy, x.shape(), "dy"));
    TF_LS_RETURN_IF_ERROR(CheckShape(context->input(2), {size}, "gamma"));
    TF_LS_RETURN_IF_ERROR(CheckShape(context->input(3), {2, rows}, "moments"));
    Tensor *dx, *dgamma, *dbeta;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &dx));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {size}, &dgamma));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, {size}, &dbeta));
    float* const statistics = const_cast<float*>(context->input(3).flat<float>().data());
    LayerNormGradient<T>(device->device(), device->template Read<T>(dy),
                         device->template Read<T>(x), rows, size, device->Float(context->input(2)),
                         {statistics, statistics + rows}, nullptr, device->template Write<T>(dx),
                         device->template Write<float>(dgamma),
                         device->template Write<float>(dbeta));
    return Status();
  }
};

TF_LS_REGISTER_FOR_FLOATS("LSLayerNorm", LayerNormOp, )
TF_LS_REGISTER_FOR_FLOATS("LSLayerNormGrad", LayerNormGradOp, )

}  // namespace
}  // namespace tf_ls
