#ifndef TF_LS_CC_LAYERS_LAYER_STACK_H_
#define TF_LS_CC_LAYERS_LAYER_STACK_H_

#include <cstdint>
#include <vector>

#include "cc/core/weight_casts.h"
#include "cc/layers/layer_options.h"
#include "cc/layers/weights.h"

namespace tf_ls {

// What encoders and decoders have in common: embedding, layers, norm. Weights are in the memory of
// the device, and prepared for products; of matrices that products read it needs no more than the
// name (WeightPiece).
struct LayerStack {
  struct Layer {
    LayerOptions options;  // memory_size 0: without cross-attention
    const float* const* weights;
  };

  AnyNumbers embeddings;  // [vocabulary, H]
  float embedding_scale;
  const float* positions;  // [of as many as a sentence may become long, H], or null: none
  // In front of the first layer; gamma is null if there is none.
  LayerNormWeights<const float*> embedding_norm = {nullptr, nullptr};
  std::vector<Layer> layers;
  LayerNormWeights<const float*> norm;  // behind the last layer; likewise
  float epsilon;                        // of both norms

  int64_t hidden_size() const { return layers[0].options.hidden_size; }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_LAYER_STACK_H_
