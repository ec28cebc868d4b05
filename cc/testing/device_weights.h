#ifndef TF_LS_CC_TESTING_DEVICE_WEIGHTS_H_
#define TF_LS_CC_TESTING_DEVICE_WEIGHTS_H_

#include <utility>
#include <vector>

#include "cc/testing/devices.h"
#include "cc/testing/layer_weights.h"

namespace tf_ls {
namespace test {

// LayerWeights in the memory of a device.
template <typename Device>
class DeviceWeights {
 public:
  explicit DeviceWeights(const LayerWeights& weights) {
    for (const auto& tensor : weights.tensors()) tensors_.emplace_back(tensor);
  }

  std::vector<const float*> pointers() const {
    std::vector<const float*> pointers;
    for (const auto& tensor : tensors_) pointers.push_back(tensor.data());
    return pointers;
  }
  std::vector<float*> mutable_pointers() {
    std::vector<float*> pointers;
    for (auto& tensor : tensors_) pointers.push_back(tensor.data());
    return pointers;
  }
  std::vector<std::vector<float>> host() const {
    std::vector<std::vector<float>> tensors;
    for (const auto& tensor : tensors_) tensors.push_back(tensor.host());
    return tensors;
  }

 private:
  std::vector<typename Testing<Device>::template Numbers<float>> tensors_;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_DEVICE_WEIGHTS_H_
