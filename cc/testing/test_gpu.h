#ifndef TF_LS_CC_TESTING_TEST_GPU_H_
#define TF_LS_CC_TESTING_TEST_GPU_H_

#include <cuda_runtime_api.h>

#include <memory>
#include <stdexcept>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/gpu.h"

namespace tf_ls {
namespace test {

inline void CheckCuda(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

struct CudaFree {
  void operator()(void* p) const { cudaFree(p); }
};
using GpuMemory = std::unique_ptr<void, CudaFree>;

// Bytes of the GPU's memory; as floating-point numbers they are NaN.
inline GpuMemory AllocateGpu(size_t bytes) {
  void* p = nullptr;
  CheckCuda(cudaMalloc(&p, bytes == 0 ? 1 : bytes));
  GpuMemory memory(p);
  CheckCuda(cudaMemset(p, 0xff, bytes));
  return memory;
}

// Scratch memory on the GPU that starts as NaN, no better aligned than arenas promise.
class GpuArena : public Arena {
 protected:
  void* AllocateBytes(size_t bytes) override {
    blocks_.push_back(AllocateGpu(kAlignment + bytes));
    return static_cast<char*>(blocks_.back().get()) + kAlignment;
  }
  size_t BlockCount() const override { return blocks_.size(); }
  void ShrinkTo(size_t block_count) override { blocks_.resize(block_count); }

 private:
  std::vector<GpuMemory> blocks_;
};

// The current GPU with scratch memory of its own, on the default stream.
class TestGpu {
 public:
  // The number of threads means something on CPUs only.
  explicit TestGpu(int /*thread_count*/ = 0) : gpu_{/*stream=*/nullptr, &arena_} {}
  TestGpu(const TestGpu&) = delete;
  TestGpu& operator=(const TestGpu&) = delete;

  operator const Gpu&() const { return gpu_; }

 private:
  GpuArena arena_;
  const Gpu gpu_;
};

// Numbers in the GPU's memory.
template <typename T>
class GpuNumbers {
 public:
  explicit GpuNumbers(const std::vector<T>& values)
      : count_(values.size()), memory_(AllocateGpu(count_ * sizeof(T))) {
    CheckCuda(cudaMemcpy(memory_.get(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  GpuNumbers(const GpuNumbers& other) : GpuNumbers(other.host()) {}

  T* data() { return static_cast<T*>(memory_.get()); }
  const T* data() const { return static_cast<const T*>(memory_.get()); }
  // Waits for what is being computed.
  std::vector<T> host() const {
    std::vector<T> values(count_);
    CheckCuda(cudaDeviceSynchronize());
    CheckCuda(cudaMemcpy(values.data(), memory_.get(), count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  size_t count_;
  GpuMemory memory_;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_TEST_GPU_H_
