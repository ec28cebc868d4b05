#ifndef TF_LS_CC_OPS_DEVICE_KERNEL_H_
#define TF_LS_CC_OPS_DEVICE_KERNEL_H_

#include <atomic>
#include <exception>

#include "cc/ops/checks.h"
#include "cc/ops/cpu_context.h"
#include "tensorflow/core/framework/op_kernel.h"
#ifdef TF_LS_GPU
#include "cc/ops/gpu_context.h"
#endif

namespace tf_ls {

// An operation on a device: Run reports what is wrong by its status, or by an exception (of a
// library, or out of memory).
template <typename Device>
class DeviceKernel : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) final {
    try {
      DeviceContext<Device> device_context(context, scratch_bytes_);
      OP_REQUIRES_OK(context, Run(context, &device_context));
      device_context.Finish();
      scratch_bytes_ = device_context.scratch_bytes();
    } catch (const std::bad_alloc&) {
      context->CtxFailure(tensorflow::errors::ResourceExhausted(name(), ": out of memory"));
    } catch (const std::exception& error) {
      context->CtxFailure(tensorflow::errors::Internal(name(), ": ", error.what()));
    }
  }

 protected:
  virtual Status Run(tensorflow::OpKernelContext* context, DeviceContext<Device>* device) = 0;

 private:
  std::atomic<size_t> scratch_bytes_{0};  // that the last run needed
};

}  // namespace tf_ls

// Registers the template `kernel`<Device, ...> for every device; `constraints` are members of
// TensorFlow's KernelDefBuilder: .TypeConstraint<type>("T"), and .HostMemory("name") for each input
// and output that an operation reads or writes itself.
#define TF_LS_REGISTER_ON_CPU(name, constraints, ...) \
  REGISTER_KERNEL_BUILDER(Name(name).Device(::tensorflow::DEVICE_CPU) constraints, __VA_ARGS__);
#ifdef TF_LS_GPU
#define TF_LS_REGISTER_ON_GPU(name, constraints, ...) \
  REGISTER_KERNEL_BUILDER(Name(name).Device(::tensorflow::DEVICE_GPU) constraints, __VA_ARGS__);
#else
#define TF_LS_REGISTER_ON_GPU(name, constraints, ...)
#endif

#define TF_LS_REGISTER(name, kernel, constraints)                \
  TF_LS_REGISTER_ON_CPU(name, constraints, kernel<::tf_ls::Cpu>) \
  TF_LS_REGISTER_ON_GPU(name, constraints, kernel<::tf_ls::Gpu>)

// The same for a template <Device, type of activations>.
#define TF_LS_REGISTER_FOR_FLOAT(name, kernel, type, constraints)                                 \
  TF_LS_REGISTER_ON_CPU(name, .TypeConstraint<type>("T") constraints, kernel<::tf_ls::Cpu, type>) \
  TF_LS_REGISTER_ON_GPU(name, .TypeConstraint<type>("T") constraints, kernel<::tf_ls::Gpu, type>)

#define TF_LS_REGISTER_FOR_FLOATS(name, kernel, constraints)       \
  TF_LS_REGISTER_FOR_FLOAT(name, kernel, float, constraints)       \
  TF_LS_REGISTER_FOR_FLOAT(name, kernel, Eigen::half, constraints) \
  TF_LS_REGISTER_FOR_FLOAT(name, kernel, ::tensorflow::bfloat16, constraints)

#endif  // TF_LS_CC_OPS_DEVICE_KERNEL_H_
