#ifndef TF_LS_CC_OPS_CPU_KERNEL_H_
#define TF_LS_CC_OPS_CPU_KERNEL_H_

#include <exception>

#include "cc/ops/checks.h"
#include "cc/ops/cpu_context.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_ls {

// An operation on the CPU: Run reports what is wrong by its status, or by an exception (oneDNN's,
// or out of memory).
class CpuKernel : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) final {
    try {
      CpuContext cpu_context(context);
      OP_REQUIRES_OK(context, Run(context, &cpu_context));
      cpu_context.Finish();
    } catch (const std::bad_alloc&) {
      context->CtxFailure(tensorflow::errors::ResourceExhausted(name(), ": out of memory"));
    } catch (const std::exception& error) {
      context->CtxFailure(tensorflow::errors::Internal(name(), ": ", error.what()));
    }
  }

 protected:
  virtual Status Run(tensorflow::OpKernelContext* context, CpuContext* cpu) = 0;
};

}  // namespace tf_ls

// Registers a kernel template for every type of activations.
#define TF_LS_REGISTER_FOR_FLOATS(name, kernel)                                                   \
  REGISTER_KERNEL_BUILDER(Name(name).Device(::tensorflow::DEVICE_CPU).TypeConstraint<float>("T"), \
                          kernel<float>);                                                         \
  REGISTER_KERNEL_BUILDER(                                                                        \
      Name(name).Device(::tensorflow::DEVICE_CPU).TypeConstraint<Eigen::half>("T"),               \
      kernel<Eigen::half>);                                                                       \
  REGISTER_KERNEL_BUILDER(                                                                        \
      Name(name).Device(::tensorflow::DEVICE_CPU).TypeConstraint<::tensorflow::bfloat16>("T"),    \
      kernel<::tensorflow::bfloat16>)

#endif  // TF_LS_CC_OPS_CPU_KERNEL_H_
