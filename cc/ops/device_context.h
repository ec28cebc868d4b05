#ifndef TF_LS_CC_OPS_DEVICE_CONTEXT_H_
#define TF_LS_CC_OPS_DEVICE_CONTEXT_H_

#include <cstdint>
#include <new>
#include <vector>

#include "cc/core/arena.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_ls {

// A device as an operation sees it. Specialised for Cpu and Gpu, with the same members:
//   device()      what kernels are handed
//   Float(tensor) the data of a tensor as float32; a cast copy if it is of another type
//   Read<T>(tensor), Write<T>(&tensor)
//                 its data as T, and where to write T for it; Finish() brings that there
//   PrepareWeights<T>(weights)
//                 to be called with all float32 weights that products are going to read
//   Bring(numbers)
//                 makes pointers to host memory, of what an operation has checked there, point to
//                 copies that kernels can read
//   Fetch(value)  what lies there in the device's memory; waits for it
//   Copy(from, bytes, to), Clear(to, bytes)
//                 within the device's memory
template <typename Device>
class DeviceContext;

// The type that layers compute in, for each of TensorFlow's types of activations.
template <typename Device, typename TensorType>
struct ComputeType;

// Weights as PrepareWeights takes them.
struct FloatWeights {
  const float* data;
  int64_t count;
};

// Numbers in host memory as Bring takes them.
struct HostNumbers {
  template <typename Number>
  HostNumbers(const Number** numbers, int64_t count)
      : data(reinterpret_cast<const void**>(numbers)), bytes(count * sizeof(Number)) {}

  const void** data;
  size_t bytes;
};

// Scratch memory from TensorFlow's allocator, of the device that an operation runs on.
class TensorFlowArena : public Arena {
 public:
  explicit TensorFlowArena(tensorflow::OpKernelContext* context) : context_(context) {}

 protected:
  void* AllocateBytes(size_t bytes) override {
    tensorflow::Tensor block;
    const auto status =
        context_->allocate_temp(tensorflow::DT_UINT8, {static_cast<int64_t>(bytes)}, &block);
    if (!status.ok()) throw std::bad_alloc();
    blocks_.push_back(block);
    return block.data();
  }
  size_t BlockCount() const override { return blocks_.size(); }
  void ShrinkTo(size_t block_count) override { blocks_.resize(block_count); }

 private:
  tensorflow::OpKernelContext* const context_;
  std::vector<tensorflow::Tensor> blocks_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_DEVICE_CONTEXT_H_
