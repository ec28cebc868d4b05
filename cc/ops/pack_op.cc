#include "cc/kernels/pack.h"
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

REGISTER_OP("LSPack")
    .Input("x: T")
    .Input("indices: int32")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, indices;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &x));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &indices));
      c->set_output(0, c->Matrix(c->Dim(indices, 0), c->Dim(x, 2)));
      return Status();
    });

REGISTER_OP("LSUnpack")
    .Input("x: T")
    .Input("indices: int32")
    .Input("batch_and_length: int32")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, indices, shape;
      tensorflow::shape_inference::DimensionHandle ignored;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &indices));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(x, 0), c->Dim(indices, 0), &ignored));
      TF_LS_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(2, &shape));
      TF_LS_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      c->set_output(0, c->MakeShape({c->Dim(shape, 0), c->Dim(shape, 1), c->Dim(x, 1)}));
      return Status();
    });

Status CheckIndices(const Tensor& indices, int64_t positions) {
  const auto index = indices.flat<int32_t>();
  for (int64_t i = 0; i < index.size(); ++i) {
    if (index(i) < -1 || index(i) >= positions) {
      return InvalidArgument("index ", i, " must be from -1 to ", positions - 1, ", got ",
                             index(i));
    }
  }
  return Status();
}

int64_t RowBytes(const Tensor& x, int64_t numbers) {
  return numbers * tensorflow::DataTypeSize(x.dtype());
}

// y[i] = x[indices[i]] over all positions of all sentences; zeros where the index is -1.
template <typename Device>
class PackOp : public DeviceKernel<Device> {
 public:
  using DeviceKernel<Device>::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& x = context->input(0);
    const Tensor& indices = context->input(1);
    TF_LS_RETURN_IF_ERROR(CheckRank(x, 3, "x"));
    TF_LS_RETURN_IF_ERROR(CheckRank(indices, 1, "indices"));
    const int64_t rows = indices.dim_size(0);
    const int64_t positions = x.dim_size(0) * x.dim_size(1);
    TF_LS_RETURN_IF_ERROR(CheckIndices(indices, positions));
    Tensor* y;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {rows, x.dim_size(2)}, &y));
    const int32_t* index = indices.flat<int32_t>().data();
    device->Bring({{&index, rows}});
    PackRows(device->device(), x.data(), positions, index, rows, RowBytes(x, x.dim_size(2)),
             y->data());
    return Status();
  }
};

// y[indices[i]] = x[i]; zeros where no row belongs. The gradient of Pack, and the other way round.
template <typename Device>
class UnpackOp : public DeviceKernel<Device> {
 public:
  using DeviceKernel<Device>::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& x = context->input(0);
    const Tensor& indices = context->input(1);
    TF_LS_RETURN_IF_ERROR(CheckRank(x, 2, "x"));
    TF_LS_RETURN_IF_ERROR(CheckShape(indices, {x.dim_size(0)}, "indices"));
    int64_t batch, length;
    TF_LS_RETURN_IF_ERROR(ReadBatchAndLength(context->input(2), &batch, &length));
    TF_LS_RETURN_IF_ERROR(CheckIndices(indices, batch * length));
    Tensor* y;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {batch, length, x.dim_size(1)}, &y));
    const int32_t* index = indices.flat<int32_t>().data();
    device->Bring({{&index, x.dim_size(0)}});
    UnpackRows(device->device(), x.data(), index, x.dim_size(0), RowBytes(x, x.dim_size(1)),
               batch * length, y->data());
    return Status();
  }
};

TF_LS_REGISTER("LSPack", PackOp, .HostMemory("indices"))
TF_LS_REGISTER("LSUnpack", UnpackOp, .HostMemory("indices").HostMemory("batch_and_length"))

}  // namespace
}  // namespace tf_ls
