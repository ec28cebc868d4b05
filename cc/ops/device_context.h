#ifndef TF_LS_CC_OPS_DEVICE_CONTEXT_H_
#define TF_LS_CC_OPS_DEVICE_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/weight_casts.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_ls {

// A device as an operation sees it. Specialised for Cpu and Gpu, with the same members:
//   device()      what kernels are handed
//   scratch_bytes()
//                 how much scratch memory was in use at most
//   Float(tensor, memory)
//                 the data of a tensor as float32; a cast copy if it is of another type, in memory
//                 that may be left out: then it is scratch memory
//   Read<T>(tensor), Write<T>(&tensor)
//                 its data as T, and where to write T for it; Finish() brings that there
//   PreparedBytes<T>(weights), PrepareWeights<T>(weights, memory), UsePrepared<T>(weights, memory)
//                 the form in which products of a layer and its gradient read float32 weights: how
//                 much memory it takes, and to be called before them, to make it, or with memory
//                 where it was made before
//   LoopWeights, PrepareLoop<T>(weights, memory), Use(loop_weights)
//                 the same for the steps of a loop, of which there are so many that any preparation
//                 pays; it may be used as long as the memory lasts. Weights are float32, int8 or
//                 of a type for which PreparesFrom<T>(type). The CPU multiplies by int8, the GPU by
//                 copies in T
//   BeginLoop()   makes ready for steps that come one right after the other
//   kRowMultiple  rows without padding between them had better come in multiples of this, so that
//                 products that were compiled for other batches fit
//   Bring(numbers, memory)
//                 makes pointers to host memory, of what an operation has checked there, point to
//                 copies that kernels can read, in memory that may be left out: then it is scratch
//                 memory
//   Copy(from, bytes, to), Clear(to, bytes)
//                 within the device's memory
template <typename Device>
class DeviceContext;

// The type that layers compute in, for each of TensorFlow's types of activations.
template <typename Device, typename TensorType>
struct ComputeType;

// Numbers in host memory as Bring takes them.
struct HostNumbers {
  template <typename Number>
  HostNumbers(const Number** numbers, int64_t count)
      : data(reinterpret_cast<const void**>(numbers)), bytes(count * sizeof(Number)) {}

  const void** data;
  size_t bytes;
};

// Memory from TensorFlow's allocator, of the device that an operation runs on, or what `attributes`
// say. It lasts as long as the pointer, whatever becomes of the operation.
inline std::shared_ptr<void> NewTensorFlowMemory(tensorflow::OpKernelContext* context, size_t bytes,
                                                 tensorflow::AllocatorAttributes attributes = {}) {
  auto block = std::make_shared<tensorflow::Tensor>();
  const auto status = context->allocate_temp(tensorflow::DT_UINT8, {static_cast<int64_t>(bytes)},
                                             block.get(), attributes);
  if (!status.ok()) throw std::bad_alloc();
  void* const data = block->data();
  return {std::move(block), data};
}

// An arena of such memory.
class TensorFlowArena : public BlockArena {
 public:
  TensorFlowArena(tensorflow::OpKernelContext* context, size_t expected,
                  tensorflow::AllocatorAttributes attributes = {})
      : BlockArena(expected), context_(context), attributes_(attributes) {}

 protected:
  std::shared_ptr<void> NewBlock(size_t bytes) override {
    return NewTensorFlowMemory(context_, bytes, attributes_);
  }

 private:
  tensorflow::OpKernelContext* const context_;
  const tensorflow::AllocatorAttributes attributes_;
};

// A tensor's data, which is of one of the types of weights.
inline AnyNumbers NumbersOf(const tensorflow::Tensor& tensor) {
  switch (tensor.dtype()) {
    case tensorflow::DT_HALF:
      return static_cast<const float16*>(tensor.data());
    case tensorflow::DT_BFLOAT16:
      return static_cast<const bfloat16*>(tensor.data());
    default:
      return static_cast<const float*>(tensor.data());
  }
}

// Attributes of the host's memory from which a GPU copies, and to which, while the host goes on.
inline tensorflow::AllocatorAttributes PinnedMemory() {
  tensorflow::AllocatorAttributes attributes;
  attributes.set_on_host(true);
  attributes.set_gpu_compatible(true);
  return attributes;
}

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_DEVICE_CONTEXT_H_
