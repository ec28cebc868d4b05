#ifndef TF_LS_CC_OPS_CPU_CONTEXT_H_
#define TF_LS_CC_OPS_CPU_CONTEXT_H_

#include <functional>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/threadpool.h"

namespace tf_ls {

// TensorFlow's intra-op threads.
class TensorFlowThreads : public Threads {
 public:
  explicit TensorFlowThreads(tensorflow::OpKernelContext* context)
      : workers_(context->device()->tensorflow_cpu_worker_threads()->workers) {}

 protected:
  void Share(int64_t total, int64_t cost,
             const std::function<void(int64_t, int64_t)>& work) override {
    workers_->ParallelFor(total, cost, work);
  }

 private:
  tensorflow::thread::ThreadPool* const workers_;
};

// Scratch memory from TensorFlow's allocator.
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

// The CPU as an operation sees it, with the casts between TensorFlow's types and those that layers
// compute in: float16 is computed in float32.
class CpuContext {
 public:
  explicit CpuContext(tensorflow::OpKernelContext* context)
      : context_(context), threads_(context), arena_(context), cpu_{&threads_, &arena_} {}

  const Cpu& cpu() const { return cpu_; }

  // The data of a tensor as float32; a cast copy if it is of another type.
  const float* Float(const tensorflow::Tensor& tensor);
  // The data of a tensor as T.
  template <typename T>
  const T* Read(const tensorflow::Tensor& tensor);

  // Where to write T for a tensor; what has been written is brought there by Finish.
  template <typename T>
  T* Write(tensorflow::Tensor* tensor);
  void Finish();

 private:
  tensorflow::OpKernelContext* const context_;
  TensorFlowThreads threads_;
  TensorFlowArena arena_;
  const Cpu cpu_;
  std::vector<std::function<void()>> unfinished_;
};

// The type that layers compute in, for each of TensorFlow's types.
template <typename TensorType>
struct ComputeType {
  using type = float;
};
template <>
struct ComputeType<tensorflow::bfloat16> {
  using type = bfloat16;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_CPU_CONTEXT_H_
