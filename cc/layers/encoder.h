#ifndef TF_LS_CC_LAYERS_ENCODER_H_
#define TF_LS_CC_LAYERS_ENCODER_H_

#include <cstdint>

#include "cc/layers/embed_tokens.h"
#include "cc/layers/encoder_layer.h"
#include "cc/layers/layer_stack.h"
#include "cc/layers/normalize.h"

namespace tf_ls {

// A whole encoder, of layers without cross-attention, on the rows of sentences, without dropout.
// tokens: of sentences.rows rows. y: [rows, H]; what is in rows that belong to no sentence means
// nothing.
//
// Cost: of each layer its products, 2 * rows * (4 * H^2 + 2 * H * F) flops, and attention.
template <typename Device, typename T>
void Encode(const Device& device, const LayerStack& stack, const TokenRows& tokens,
            const Sentences& sentences, T* y) {
  EmbedTokens(device, stack, tokens, y);
  for (const LayerStack::Layer& layer : stack.layers) {
    const ArenaScope scope(device.arena);
    const EncoderLayer<Device, T> encoder_layer(device, layer.options, sentences, layer.weights);
    unsigned char* const scratch =
        device.arena->template Allocate<unsigned char>(encoder_layer.ReserveBytes());
    encoder_layer.Forward(y, scratch, y);
  }
  if (stack.norm.gamma == nullptr) return;
  Normalize<Device, T>(device, stack.norm, stack.epsilon, y, sentences.rows, stack.hidden_size(),
                       y);
}

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_ENCODER_H_
