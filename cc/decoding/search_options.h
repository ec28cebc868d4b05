#ifndef TF_LS_CC_DECODING_SEARCH_OPTIONS_H_
#define TF_LS_CC_DECODING_SEARCH_OPTIONS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace tf_ls {

enum class LengthPenalty { kNeurst, kLightseq, kExponent, kNone };

constexpr int kMaxBeamSize = 64;
constexpr int kNoExtraLength = -1;

// How to search. What each option means to the last detail stands in
// tf_ls/testing/reference_search.py, under the same names. Greedy search is a beam of one; a sample
// is a beam of one whose only candidate is the token that was drawn.
struct SearchOptions {
  int32_t eos = 0;
  int beam_size = 4;
  int num_hypotheses = 1;
  LengthPenalty length_penalty = LengthPenalty::kNeurst;
  double length_penalty_alpha = 0.6;
  double coverage_penalty = 0.0;
  double diversity = 0.0;  // of diverse beam search; 0 for others
  bool early_stopping = false;
  double patience = 1.0;
  int no_repeat_ngram_size = 0;
  int min_length = 0;
  int max_length = 256;
  int max_extra_length = 50;  // kNoExtraLength for none
  std::vector<int32_t> forbidden_tokens;
  bool return_attention = false;

  // Whether a token that came stays: a beam of one, whose hypothesis nothing takes the place of.
  bool TokensAreFinal() const { return beam_size == 1 && !early_stopping; }

  // The length at which hypotheses end; source_length is negative if there is no source.
  int LengthLimit(int source_length) const {
    int64_t limit = max_length;
    if (source_length >= 0 && max_extra_length != kNoExtraLength) {
      limit = std::min(limit, int64_t{source_length} + max_extra_length);
    }
    return static_cast<int>(std::max<int64_t>({limit, min_length, 1}));
  }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_SEARCH_OPTIONS_H_
