#ifndef TF_LS_CC_LAYERS_LAYER_OPTIONS_H_
#define TF_LS_CC_LAYERS_LAYER_OPTIONS_H_

#include <cstdint>

#include "cc/core/philox.h"
#include "cc/kernels/activation_kind.h"

namespace tf_ls {

// What an encoder or decoder layer is, apart from its weights.
struct LayerOptions {
  int64_t hidden_size = 0;
  int64_t filter_size = 0;
  int64_t memory_size = 0;  // hidden size of what cross-attention attends to; 0: no cross-attention
  int64_t num_heads = 0;
  bool pre_norm = true;
  Activation activation = Activation::kRelu;
  float epsilon = 1e-6f;
  bool causal = false;
  float attention_dropout = 0.0f;
  float activation_dropout = 0.0f;
  float residual_dropout = 0.0f;
  uint64_t seed = 0;

  int64_t head_size() const { return hidden_size / num_heads; }
  Dropout MakeDropout(float rate, DropoutSite site) const { return {rate, seed, site}; }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_LAYER_OPTIONS_H_
