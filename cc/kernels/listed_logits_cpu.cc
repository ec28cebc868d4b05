#include <limits>

#include "cc/kernels/listed_logits.h"

namespace tf_ls {
namespace {

// Where the logit of a row's token is; null if it is not in the piece.
float* Find(const LogitPiece& piece, int64_t row, int32_t token) {
  const int64_t column = token - piece.first;
  if (column < 0 || column >= piece.count) return nullptr;
  return piece.data + row * piece.stride + column;
}

template <typename Change>
void ChangeListed(const LogitPiece& piece, const TokenLists& lists, const Change& change) {
  for (int64_t row = 0; row < piece.rows; ++row) {
    for (int32_t i = lists.begins[row]; i < lists.ends[row]; ++i) {
      float* const logit = Find(piece, row, lists.tokens[i]);
      if (logit != nullptr) *logit = change(*logit);
    }
  }
}

}  // namespace

void PenalizeRepetition(const Cpu& /*cpu*/, const LogitPiece& piece, const TokenLists& lists,
                        float penalty) {
  ChangeListed(piece, lists, [&](float x) { return x > 0.0f ? x / penalty : x * penalty; });
}

void ExcludeTokens(const Cpu& /*cpu*/, const LogitPiece& piece, const TokenLists& lists) {
  ChangeListed(piece, lists, [](float) { return -std::numeric_limits<float>::infinity(); });
}

void GatherLogits(const Cpu& /*cpu*/, const LogitPiece& piece, const int32_t* tokens,
                  float* gathered) {
  for (int64_t row = 0; row < piece.rows; ++row) {
    const float* const logit = Find(piece, row, tokens[row]);
    if (logit != nullptr) gathered[row] = *logit;
  }
}

}  // namespace tf_ls
