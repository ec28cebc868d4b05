#ifndef TF_LS_CC_OPS_PACKED_RESOURCE_H_
#define TF_LS_CC_OPS_PACKED_RESOURCE_H_

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "cc/ops/device_kernel.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/shape_inference.h"

// Handles to what is packed: Packed is PackedDecoder<Device> or what else has type(), vocab_size()
// and a kName.
namespace tf_ls {

// What a handle stands for: something packed that may be replaced. Who uses it meanwhile keeps the
// old one.
template <typename Packed>
class PackedResource : public tensorflow::ResourceBase {
 public:
  // Null before the first Set.
  std::shared_ptr<const Packed> Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return packed_;
  }
  void Set(std::shared_ptr<const Packed> packed) {
    const std::lock_guard<std::mutex> lock(mutex_);
    packed_.swap(packed);  // the old one goes when the lock has gone
  }

  std::string DebugString() const override {
    const auto packed = Get();
    const std::string name = Packed::kName;
    if (packed == nullptr) return "no " + name;
    return "a packed " + name + " of " + std::to_string(packed->vocab_size()) + " words for " +
           tensorflow::DataTypeString(packed->type());
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Packed> packed_;
};

// Makes the input "handle" stand for something packed, in place of what it stood for before.
template <typename Packed>
Status SetPacked(tensorflow::OpKernelContext* context, std::shared_ptr<const Packed> packed) {
  using Resource = PackedResource<Packed>;
  tensorflow::ResourceHandle handle;
  tensorflow::core::RefCountPtr<Resource> resource;
  TF_LS_RETURN_IF_ERROR(tensorflow::HandleFromInput(context, "handle", &handle));
  TF_LS_RETURN_IF_ERROR(handle.IsRefCounting()
                            ? tensorflow::LookupResource(context, handle, &resource)
                            : tensorflow::LookupOrCreateResource<Resource>(
                                  context, handle, &resource, [](Resource** created) {
                                    *created = std::make_unique<Resource>().release();
                                    return Status();
                                  }));
  resource->Set(std::move(packed));
  return Status();
}

// What the input `name` stands for, packed for activations of `type`.
template <typename Packed>
Status GetPacked(tensorflow::OpKernelContext* context, const char* name, tensorflow::DataType type,
                 std::shared_ptr<const Packed>* packed) {
  using tensorflow::errors::InvalidArgument;
  tensorflow::ResourceHandle handle;
  tensorflow::core::RefCountPtr<PackedResource<Packed>> resource;
  TF_LS_RETURN_IF_ERROR(tensorflow::HandleFromInput(context, name, &handle));
  const Status found = tensorflow::LookupResource(context, handle, &resource);
  if (!found.ok()) {
    return InvalidArgument("the handle has no packed ", Packed::kName, ": ", found.ToString());
  }
  *packed = resource->Get();
  if (*packed == nullptr) {
    return InvalidArgument("the handle has no packed ", Packed::kName, ": it was never filled");
  }
  if ((*packed)->type() == type) return Status();
  return InvalidArgument("the ", Packed::kName, " was packed for ",
                         tensorflow::DataTypeString((*packed)->type()), ", not for ",
                         tensorflow::DataTypeString(type));
}

inline Status PackedHandleShape(tensorflow::shape_inference::InferenceContext* c) {
  c->set_output(0, c->Scalar());
  return Status();
}

// Makes a handle that owns what it stands for, which goes with the last copy of the handle.
template <typename Packed>
class AnonymousPackedOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    tensorflow::AllocatorAttributes host;
    host.set_on_host(true);
    tensorflow::Tensor* handle;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &handle, host));
    handle->scalar<tensorflow::ResourceHandle>()() =
        tensorflow::ResourceHandle::MakeRefCountingHandle(
            std::make_unique<PackedResource<Packed>>().release(), context->device()->name());
  }
};

}  // namespace tf_ls

// Registers the operations that make handles to what is a `packed`<Device>: `anonymous`, and
// `named`, a handle to what its device owns under a name, for sessions, which make their handles in
// each run.
#define TF_LS_REGISTER_PACKED_HANDLES(anonymous, named, packed)                             \
  REGISTER_OP(anonymous)                                                                    \
      .Output("handle: resource")                                                           \
      .SetIsStateful()                                                                      \
      .SetShapeFn(::tf_ls::PackedHandleShape);                                              \
  REGISTER_OP(named)                                                                        \
      .Output("handle: resource")                                                           \
      .Attr("container: string = ''")                                                       \
      .Attr("shared_name: string = ''")                                                     \
      .SetIsStateful()                                                                      \
      .SetShapeFn(::tf_ls::PackedHandleShape);                                              \
  TF_LS_REGISTER_ON_CPU(anonymous, , ::tf_ls::AnonymousPackedOp<packed<::tf_ls::Cpu>>)      \
  TF_LS_REGISTER_ON_GPU(anonymous, .HostMemory("handle"),                                   \
                        ::tf_ls::AnonymousPackedOp<packed<::tf_ls::Gpu>>)                   \
  TF_LS_REGISTER_ON_CPU(                                                                    \
      named, , tensorflow::ResourceHandleOp<::tf_ls::PackedResource<packed<::tf_ls::Cpu>>>) \
  TF_LS_REGISTER_ON_GPU(                                                                    \
      named, .HostMemory("handle"),                                                         \
      tensorflow::ResourceHandleOp<::tf_ls::PackedResource<packed<::tf_ls::Gpu>>>)

#endif  // TF_LS_CC_OPS_PACKED_RESOURCE_H_
