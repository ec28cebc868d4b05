#include "cc/kernels/dropout.h"
#include "cc/ops/device_kernel.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;

// Its own gradient, given the same seed.
REGISTER_OP("LSDropout")
    .Input("x: T")
    .Input("seed: int64")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("rate: float")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      tensorflow::shape_inference::ShapeHandle ignored;
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(1), c->Vector(2), &ignored));
      c->set_output(0, c->input(0));
      return Status();
    });

template <typename Device, typename TensorType>
class DropoutOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit DropoutOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("rate", &dropout_.rate));
    OP_REQUIRES(construction, dropout_.rate >= 0.0f && dropout_.rate < 1.0f,
                InvalidArgument("rate must be in [0, 1), got ", dropout_.rate));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& x = context->input(0);
    Dropout dropout = dropout_;
    TF_LS_RETURN_IF_ERROR(ReadSeed(context->input(1), &dropout.seed));
    Tensor* y;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, x.shape(), &y));
    if (x.NumElements() == 0) return Status();
    const int64_t size = x.dims() == 0 ? 1 : x.dim_size(x.dims() - 1);
    ApplyDropout<T>(device->device(), dropout, device->template Read<T>(x), x.NumElements() / size,
                    size, device->template Write<T>(y));
    return Status();
  }

 private:
  Dropout dropout_;
};

TF_LS_REGISTER_FOR_FLOATS("LSDropout", DropoutOp, .HostMemory("seed"))

}  // namespace
}  // namespace tf_ls
