#ifndef TF_LS_CC_TESTING_TINY_OPTIONS_H_
#define TF_LS_CC_TESTING_TINY_OPTIONS_H_

#include <cstdint>

#include "cc/layers/layer_options.h"

namespace tf_ls {
namespace test {

// A layer small enough to differentiate by each of its weights.
inline LayerOptions TinyEncoderOptions() {
  LayerOptions options;
  options.hidden_size = 6;
  options.filter_size = 10;
  options.num_heads = 2;
  options.activation = Activation::kGelu;
  options.epsilon = 1e-3f;
  options.seed = 0x123456789;
  return options;
}

// Without cross-attention if memory_size is 0.
inline LayerOptions TinyDecoderOptions(int64_t memory_size = 5) {
  LayerOptions options = TinyEncoderOptions();
  options.memory_size = memory_size;
  options.causal = true;
  return options;
}

inline LayerOptions WithDropout(LayerOptions options) {
  options.attention_dropout = 0.3f;
  options.activation_dropout = 0.2f;
  options.residual_dropout = 0.25f;
  return options;
}

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_TINY_OPTIONS_H_
