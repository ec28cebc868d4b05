#ifndef TF_LS_CC_DECODING_PROMPT_ROWS_H_
#define TF_LS_CC_DECODING_PROMPT_ROWS_H_

#include <cstdint>
#include <vector>

#include "cc/decoding/generation_options.h"

namespace tf_ls {

// How many tokens every hypothesis of a sentence begins with: its prefix, as far as EOS or the
// length at which hypotheses end.
int PromptLength(const SearchOptions& options, const SentenceStart& sentence);

// The slot of the caches that all hypotheses of a sentence have their prompt in: that of the first.
int32_t PromptSlot(const GenerationOptions& options, int64_t sentence);

// The prompts of some sentences as rows, one sentence's behind the other's. A row reads the token
// in front of one that is known: the start token, then all of the prompt but its last token, with
// which the search's first step begins.
struct PromptRows {
  // Of each sentence.
  std::vector<int32_t> sentences;
  std::vector<int32_t> offsets;  // where its rows begin; at the end, how many rows there are
  std::vector<int32_t> lengths;  // how many there are

  // Of each row; behind the last sentence's there are rows without a token, which fill up.
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<int32_t> slots;
  std::vector<int32_t> sentence_of;
  std::vector<int32_t> next_tokens;      // the prompt's; -1 if there is none
  std::vector<int32_t> penalized_begin;  // the tokens of the prompt up to here, in `listed`, once
  std::vector<int32_t> penalized_end;

  std::vector<int32_t> listed;

  int64_t count() const { return offsets.back(); }
  int64_t filled_up() const { return static_cast<int64_t>(tokens.size()); }
};

// All prompts, in pieces of whole ones: of most_rows rows at most, unless one prompt alone is
// longer. Sentences without a prompt have no rows.
std::vector<PromptRows> PiecesOfPrompts(const GenerationOptions& options,
                                        const std::vector<SentenceStart>& sentences,
                                        int64_t most_rows);

// What reading them brings, in host memory.
struct PromptScores {
  // Of each row: the logit of the next token, and what turns it into a log-probability (NaN if
  // there are no probabilities).
  std::vector<float> next_logits;
  std::vector<double> log_sums;
  std::vector<float> attention;  // [rows, attention_length]
  int64_t attention_length = 0;  // 0 if nobody wants it

  const float* Attention(int64_t row) const {
    return attention_length == 0 ? nullptr : attention.data() + row * attention_length;
  }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_PROMPT_ROWS_H_
