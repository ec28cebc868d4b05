#ifndef TF_LS_CC_TESTING_LAYER_WEIGHTS_H_
#define TF_LS_CC_TESTING_LAYER_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "cc/layers/layer_options.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace test {

// A layer's weights or their gradients, one tensor after the other in the order of
// cc/layers/weights.h.
class LayerWeights {
 public:
  // Of an encoder layer, or with options.memory_size of a decoder layer.
  static LayerWeights Random(const LayerOptions& options, uint32_t seed) {
    LayerWeights weights;
    for (const int64_t size : Sizes(options)) {
      weights.tensors_.push_back(test::Random<float>(size, seed++, 0.7));
    }
    return weights;
  }
  static LayerWeights Unwritten(const LayerOptions& options) {
    LayerWeights weights;
    for (const int64_t size : Sizes(options)) {
      weights.tensors_.push_back(test::Unwritten<float>(size));
    }
    return weights;
  }

  const std::vector<std::vector<float>>& tensors() const { return tensors_; }

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
  std::vector<std::vector<double>> Widened() const {
    std::vector<std::vector<double>> wide;
    for (const auto& tensor : tensors_) wide.push_back(Convert<double>(tensor));
    return wide;
  }

 private:
  static std::vector<int64_t> Sizes(const LayerOptions& options) {
    const int64_t h = options.hidden_size;
    const int64_t f = options.filter_size;
    const int64_t m = options.memory_size;
    std::vector<int64_t> sizes = {h, h, h * 3 * h, 3 * h, h * h, h};
    if (m > 0) sizes.insert(sizes.end(), {h, h, h * h, h, m * 2 * h, 2 * h, h * h, h});
    sizes.insert(sizes.end(), {h, h, h * f, f, f * h, h});
    return sizes;
  }

  std::vector<std::vector<float>> tensors_;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_LAYER_WEIGHTS_H_
