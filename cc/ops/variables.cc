#include "cc/ops/variables.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace tf_ls {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::Var;
using tensorflow::errors::InvalidArgument;

std::string LockedVariables::name(int i) const {
  return "'" + handles_[i]->name() + "' (number " + std::to_string(i) + ")";
}

Status LockedVariables::Lock(OpKernelContext* context,
                             std::vector<const tensorflow::ResourceHandle*> handles) {
  handles_ = std::move(handles);
  const int count = static_cast<int>(handles_.size());
  std::vector<std::pair<Var*, int>> order;
  for (int i = 0; i < count; ++i) {
    tensorflow::core::RefCountPtr<Var> variable;
    const Status status = tensorflow::LookupResource(context, *handles_[i], &variable);
    if (!status.ok()) {
      return InvalidArgument("variable ", name(i), " must be initialized: ", status.ToString());
    }
    order.emplace_back(variable.get(), i);
    variables_.push_back(std::move(variable));
  }
  // By address, as TensorFlow's own operations do, so that two operations never wait for each
  // other.
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::less<tensorflow::mutex*>()(a.first->mu(), b.first->mu());
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i].first == order[i - 1].first) {
      return InvalidArgument("a variable must be given once, got ", name(order[i - 1].second),
                             " and ", name(order[i].second), ", which are the same");
    }
  }
  locks_.reserve(order.size());
  for (const auto& variable : order) locks_.emplace_back(*variable.first->mu());
  for (int i = 0; i < count; ++i) {
    const Tensor& tensor = *variables_[i]->tensor();
    if (!variables_[i]->is_initialized || !tensor.IsInitialized()) {
      return InvalidArgument("variable ", name(i), " must be initialized");
    }
    if (tensor.dtype() != tensorflow::DT_FLOAT) {
      return InvalidArgument("variable ", name(i), " must be float32, got ",
                             tensorflow::DataTypeString(tensor.dtype()));
    }
  }
  return Status();
}

}  // namespace tf_ls
