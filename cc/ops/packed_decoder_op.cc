#include "cc/ops/device_kernel.h"
#include "cc/ops/packed_decoder.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status HandleShape(InferenceContext* c) {
  c->set_output(0, c->Scalar());
  return Status();
}

// A handle that owns what it stands for, which goes with the last copy of the handle.
REGISTER_OP("LSAnonymousPackedDecoder")
    .Output("handle: resource")
    .SetIsStateful()
    .SetShapeFn(HandleShape);

// A handle to what its device owns under a name, for sessions, which make their handles in each
// run.
REGISTER_OP("LSPackedDecoderHandle")
    .Output("handle: resource")
    .Attr("container: string = ''")
    .Attr("shared_name: string = ''")
    .SetIsStateful()
    .SetShapeFn(HandleShape);

// Sinusoids that a handle keeps; who generates more makes its own.
constexpr int64_t kKeptPositions = 1024;

// Makes the handle stand for a decoder, in place of what it stood for before.
REGISTER_OP("LSPackDecoder")
    .Input("handle: resource") TF_LS_DECODER_INPUTS.Attr("T: {float, half, bfloat16}")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      int weights = 0, layers = 0;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      TF_LS_RETURN_IF_ERROR(c->GetAttr("N", &weights));
      TF_LS_RETURN_IF_ERROR(c->GetAttr("num_layers", &layers));
      return CheckDecoderShapes(c, 1, HasCrossAttention(weights, layers), c->UnknownDim());
    });

template <typename Device>
class AnonymousHandleOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    tensorflow::AllocatorAttributes host;
    host.set_on_host(true);
    tensorflow::Tensor* handle;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &handle, host));
    handle->scalar<tensorflow::ResourceHandle>()() =
        tensorflow::ResourceHandle::MakeRefCountingHandle(
            std::make_unique<PackedDecoderResource<Device>>().release(), context->device()->name());
  }
};

template <typename Device, typename TensorType>
class PackDecoderOp : public DeviceKernel<Device> {
 public:
  explicit PackDecoderOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, attributes_.Read(construction));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    using Resource = PackedDecoderResource<Device>;
    int64_t memory_size;
    TF_LS_RETURN_IF_ERROR(ReadMemorySize(context, &memory_size));
    auto decoder = std::make_shared<PackedDecoder<Device>>();
    TF_LS_RETURN_IF_ERROR(decoder->template Read<TensorType>(context, attributes_, memory_size,
                                                             kKeptPositions, device));
    const tensorflow::ResourceHandle& handle = tensorflow::HandleFromInput(context, 0);
    tensorflow::core::RefCountPtr<Resource> resource;
    TF_LS_RETURN_IF_ERROR(handle.IsRefCounting()
                              ? tensorflow::LookupResource(context, handle, &resource)
                              : tensorflow::LookupOrCreateResource<Resource>(
                                    context, handle, &resource, [](Resource** created) {
                                      *created = std::make_unique<Resource>().release();
                                      return Status();
                                    }));
    resource->Set(std::move(decoder));
    return Status();
  }

 private:
  // What the first layer's keys and values are made of; 0 without cross-attention.
  Status ReadMemorySize(OpKernelContext* context, int64_t* memory_size) const {
    tensorflow::OpInputList weights;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &weights));
    *memory_size = 0;
    if (!HasCrossAttention(weights.size(), attributes_.layers)) return Status();
    TF_LS_RETURN_IF_ERROR(CheckWeightCount(weights.size(), attributes_.layers, true));
    return tf_ls::ReadMemorySize(weights, memory_size);
  }

  DecoderAttributes attributes_;
};

TF_LS_REGISTER("LSAnonymousPackedDecoder", AnonymousHandleOp, .HostMemory("handle"))
TF_LS_REGISTER_ON_CPU("LSPackedDecoderHandle", ,
                      tensorflow::ResourceHandleOp<PackedDecoderResource<Cpu>>)
TF_LS_REGISTER_ON_GPU("LSPackedDecoderHandle", .HostMemory("handle"),
                      tensorflow::ResourceHandleOp<PackedDecoderResource<Gpu>>)
TF_LS_REGISTER_FOR_FLOATS("LSPackDecoder", PackDecoderOp, .HostMemory("handle"))

}  // namespace
}  // namespace tf_ls
