#ifndef TF_LS_CC_DECODING_GENERATION_MODEL_H_
#define TF_LS_CC_DECODING_GENERATION_MODEL_H_

#include <cstdint>
#include <vector>

#include "cc/core/weight_casts.h"
#include "cc/kernels/logits.h"
#include "cc/layers/layer_options.h"
#include "cc/layers/weights.h"

namespace tf_ls {

// A decoder with what is in front of it and behind it. Weights are in the memory of the device, and
// prepared for products; of matrices that products read it needs no more than the name
// (WeightPiece).
struct GenerationModel {
  struct Layer {
    LayerOptions options;  // memory_size 0: without cross-attention
    const float* const* weights;
  };

  AnyNumbers embeddings;  // [output.vocab_size, H]
  float embedding_scale;
  const float* positions;  // [of as many as a hypothesis may become long, H], or null: none
  std::vector<Layer> layers;
  LayerNormWeights<const float*> norm;  // behind the last layer; gamma is null if there is none
  float epsilon;                        // of that norm
  OutputLayer output;

  int64_t hidden_size() const { return output.hidden_size; }
  bool HasMemory() const { return layers[0].options.memory_size > 0; }
};

// What the layers attend to, in the memory of the device but for the lengths.
template <typename T>
struct GenerationMemory {
  const T* rows;  // [sentences, length, memory_size]
  int64_t sentences;
  int64_t length;
  const int32_t* lengths;  // [sentences], in host memory
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_GENERATION_MODEL_H_
