#ifndef TF_LS_CC_DECODING_LOGIT_PIECES_H_
#define TF_LS_CC_DECODING_LOGIT_PIECES_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cc/core/cpu.h"
#include "cc/kernels/logits.h"

namespace tf_ls {

// How many words' logits are there at once, if they are of so many rows: on the CPU what stays in
// the second-level caches between the product and who reads it, on the GPU what fits into memory.
template <typename Device>
int64_t VocabularyPiece(int64_t rows, int64_t vocab_size) {
  constexpr int64_t kBytes = std::is_same<Device, Cpu>::value ? 4 << 20 : 256 << 20;
  constexpr int64_t kMultiple = 256;
  const int64_t fitting = kBytes / (rows * static_cast<int64_t>(sizeof(float)));
  return std::min(vocab_size, std::max<int64_t>(1, fitting / kMultiple) * kMultiple);
}

// Makes the logits of hidden states x [rows, H], `size` words of the vocabulary at once, in the
// order of their ids, in `memory` of rows * LogitStride(device, size) numbers. Calls use(piece)
// with each LogitPiece.
template <typename Device, typename T, typename Use>
void ForEachLogitPiece(const Device& device, const OutputLayer& layer, const T* x, int64_t rows,
                       int64_t size, float* memory, const Use& use) {
  for (int64_t first = 0; first < layer.vocab_size; first += size) {
    const int64_t count = std::min(size, layer.vocab_size - first);
    const LogitPiece piece = {memory,          LogitStride(device, count), rows, first, count,
                              layer.vocab_size};
    Logits(device, x, layer, piece);
    use(piece);
  }
}

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_LOGIT_PIECES_H_
