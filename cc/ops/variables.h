#ifndef TF_LS_CC_OPS_VARIABLES_H_
#define TF_LS_CC_OPS_VARIABLES_H_

#include <string>
#include <vector>

#include "cc/ops/checks.h"
#include "cc/ops/device_context.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace tf_ls {

// Resource variables that an operation updates, locked from Lock() until it ends.
class LockedVariables {
 public:
  // Looks up the float32 variables behind the handles, which must stay where they are, and locks
  // all of them. Fails on what is no initialized float32 variable, and on one that is there twice.
  Status Lock(tensorflow::OpKernelContext* context,
              std::vector<const tensorflow::ResourceHandle*> handles);

  int size() const { return static_cast<int>(variables_.size()); }
  // What a message calls variable i.
  std::string name(int i) const;
  const tensorflow::TensorShape& shape(int i) const { return variables_[i]->tensor()->shape(); }

  // Where variable i may be written. Tensors that were read from it before keep their values: if
  // there are any, the variable gets a copy of its own first.
  template <typename Device>
  Status Write(tensorflow::OpKernelContext* context, DeviceContext<Device>* device, int i,
               float** data) {
    tensorflow::Tensor* const tensor = variables_[i]->tensor();
    if (!tensor->RefCountIsOne()) {
      tensorflow::Tensor copy;
      tensorflow::AllocatorAttributes attributes;  // as PrepareToUpdateVariable has them
      attributes.set_gpu_compatible(true);
      attributes.set_nic_compatible(true);
      TF_LS_RETURN_IF_ERROR(
          context->allocate_temp(tensor->dtype(), tensor->shape(), &copy, attributes));
      device->Copy(tensor->data(), tensor->TotalBytes(), copy.data());
      *tensor = copy;
    }
    *data = tensor->flat<float>().data();
    return Status();
  }

 private:
  std::vector<const tensorflow::ResourceHandle*> handles_;
  std::vector<tensorflow::core::RefCountPtr<tensorflow::Var>> variables_;
  std::vector<tensorflow::mutex_lock> locks_;  // released before the variables are
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_VARIABLES_H_
