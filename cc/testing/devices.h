#ifndef TF_LS_CC_TESTING_DEVICES_H_
#define TF_LS_CC_TESTING_DEVICES_H_

#include <utility>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"
#ifdef TF_LS_TEST_GPU
#include "cc/core/float16.h"
#include "cc/core/gpu.h"
#include "cc/testing/test_gpu.h"
#endif

// Tests that are written once and run on the CPU or, compiled with TF_LS_TEST_GPU, on the GPU.
namespace tf_ls {
namespace test {

// A device and the type that it computes in.
template <typename D, typename T>
struct On {
  using Device = D;
  using Type = T;
};

// The device itself is for what knows one type only.
#ifdef TF_LS_TEST_GPU
using TestedDevice = Gpu;
using DeviceTypes = ::testing::Types<On<Gpu, float>, On<Gpu, float16>, On<Gpu, bfloat16>>;
#else
using TestedDevice = Cpu;
using DeviceTypes = ::testing::Types<On<Cpu, float>, On<Cpu, bfloat16>>;
#endif

// A device with scratch memory, and numbers in its memory.
template <typename Device>
struct Testing;

template <>
struct Testing<Cpu> {
  using Instance = TestCpu;

  template <typename T>
  class Numbers {
   public:
    explicit Numbers(std::vector<T> values) : values_(std::move(values)) {}
    T* data() { return values_.data(); }
    const T* data() const { return values_.data(); }
    const std::vector<T>& host() const { return values_; }

   private:
    std::vector<T> values_;
  };
};

#ifdef TF_LS_TEST_GPU
template <>
struct Testing<Gpu> {
  using Instance = TestGpu;
  template <typename T>
  using Numbers = GpuNumbers<T>;
};
#endif

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_DEVICES_H_
