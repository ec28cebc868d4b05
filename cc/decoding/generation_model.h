#ifndef TF_LS_CC_DECODING_GENERATION_MODEL_H_
#define TF_LS_CC_DECODING_GENERATION_MODEL_H_

#include <cstdint>

#include "cc/kernels/logits.h"
#include "cc/layers/layer_stack.h"

namespace tf_ls {

// A decoder, up to its logits.
struct GenerationModel : LayerStack {
  OutputLayer output;

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
