#ifndef TF_LS_CC_KERNELS_LISTED_LOGITS_H_
#define TF_LS_CC_KERNELS_LISTED_LOGITS_H_

#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/logits.h"

// What a search does to the logits of a few words of each row before the best are found. Each takes
// a piece of the logits and leaves words outside of it alone.
namespace tf_ls {

// A list of tokens for each row, tokens[begins[row]] to tokens[ends[row] - 1], in the memory of the
// device. Rows may share a list.
struct TokenLists {
  const int32_t* begins;  // [rows]
  const int32_t* ends;    // [rows]
  const int32_t* tokens;
};

// The logit x of every listed token becomes x / penalty if x > 0, else x * penalty (Keskar et al.
// 2019, arXiv:1909.05858). A row lists no token twice. Cost: reads and writes 4 bytes a token.
void PenalizeRepetition(const Cpu& cpu, const LogitPiece& piece, const TokenLists& lists,
                        float penalty);
void PenalizeRepetition(const Gpu& gpu, const LogitPiece& piece, const TokenLists& lists,
                        float penalty);

// The logits of listed tokens become minus infinity. Cost: writes 4 bytes a token.
void ExcludeTokens(const Cpu& cpu, const LogitPiece& piece, const TokenLists& lists);
void ExcludeTokens(const Gpu& gpu, const LogitPiece& piece, const TokenLists& lists);

// gathered[row] = the logit of tokens[row]; rows whose token is not in the piece (or is -1) are
// left alone. Cost: reads and writes 4 bytes a row.
void GatherLogits(const Cpu& cpu, const LogitPiece& piece, const int32_t* tokens, float* gathered);
void GatherLogits(const Gpu& gpu, const LogitPiece& piece, const int32_t* tokens, float* gathered);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_LISTED_LOGITS_H_
