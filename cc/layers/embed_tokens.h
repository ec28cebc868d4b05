#ifndef TF_LS_CC_LAYERS_EMBED_TOKENS_H_
#define TF_LS_CC_LAYERS_EMBED_TOKENS_H_

#include <cstdint>
#include <variant>

#include "cc/kernels/embedding.h"
#include "cc/layers/layer_stack.h"
#include "cc/layers/normalize.h"

namespace tf_ls {

// What a stack's first layer reads of tokens, without dropout. x: [tokens.count, H].
template <typename Device, typename T>
void EmbedTokens(const Device& device, const LayerStack& stack, const TokenRows& tokens, T* x) {
  const int64_t hidden = stack.hidden_size();
  const auto embed = [&](const auto& table) {
    Embed(device, tokens, Dropout(), stack.embedding_scale, table, stack.positions, hidden, x);
  };
  std::visit(embed, stack.embeddings);
  if (stack.embedding_norm.gamma == nullptr) return;
  Normalize<Device, T>(device, stack.embedding_norm, stack.epsilon, x, tokens.count, hidden, x);
}

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_EMBED_TOKENS_H_
