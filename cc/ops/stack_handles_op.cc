#include "cc/ops/device_kernel.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/resource_mgr.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;
using tensorflow::shape_inference::InferenceContext;

// The handles of resources as one tensor. A function that captures it, and not each of them, is
// called in a fraction of the time: TensorFlow needs some microseconds for every input.
REGISTER_OP("LSStackHandles")
    .Input("handles: N * resource")
    .Output("stacked: resource")
    .Attr("N: int >= 0")
    .SetIsStateful()  // constant folding must not keep handles
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Vector(c->num_inputs()));
      return Status();
    });

template <typename Device>
class StackHandlesOp : public DeviceKernel<Device> {
 public:
  explicit StackHandlesOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction) {}

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* /*device*/) override {
    Tensor* stacked;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {context->num_inputs()}, &stacked));
    for (int i = 0; i < context->num_inputs(); ++i) {
      stacked->vec<ResourceHandle>()(i) = tensorflow::HandleFromInput(context, i);
    }
    return Status();
  }
};

TF_LS_REGISTER("LSStackHandles", StackHandlesOp, .HostMemory("handles").HostMemory("stacked"))

}  // namespace
}  // namespace tf_ls
