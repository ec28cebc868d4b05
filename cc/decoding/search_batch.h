#ifndef TF_LS_CC_DECODING_SEARCH_BATCH_H_
#define TF_LS_CC_DECODING_SEARCH_BATCH_H_

#include <cstdint>
#include <vector>

#include "cc/decoding/beam_search.h"
#include "cc/decoding/generation_options.h"
#include "cc/decoding/prompt_rows.h"
#include "cc/decoding/step_exchange.h"

namespace tf_ls {

// What a step brought a hypothesis.
struct NewToken {
  int sentence;
  int sample;     // of the sentence; 0 of a search
  int32_t token;  // -1: none, nothing might come, or it was forced
  float log_prob;
  bool is_last;  // the hypothesis has ended
};

// What the first step's rows continue, a row of each search: as BeamPaths, in host memory.
struct FirstPaths {
  std::vector<int32_t> slots;    // [searches, max_length], as far as there are prompts
  std::vector<int32_t> lengths;  // [searches]
};

// The searches of all sentences of a batch: the host's half of the generation loop. A step's rows
// are those of searches that go on, one behind the other; who has finished has no rows.
class SearchBatch {
 public:
  // `options` and `sentences` must outlive it.
  SearchBatch(const GenerationOptions& options, const std::vector<SentenceStart>& sentences);

  // How long hypotheses may become, and what steps need at most.
  int64_t max_length() const { return max_length_; }
  const StepLimits& limits() const { return limits_; }
  int64_t most_candidates() const { return most_candidates_; }
  // Slots of the caches: a search has as many as beams, and rows that fill up share some.
  int64_t slots() const { return spare_slot_ + RowUnit(limits_.rows); }
  FirstPaths PathsOfPrompts() const;

  bool done() const { return active_.empty(); }
  // Takes what reading prompts has brought, which comes before the first step; all samples of a
  // sentence begin with the same. Throws std::invalid_argument if the model gave no probabilities.
  void TakePrompts(const PromptRows& rows, const PromptScores& scores);
  // Writes what the next step is to compute.
  StepWork Prepare(const StepInputs& inputs);
  // Takes what it has computed; attention_length is how far rows of attention lie apart. Throws
  // as TakePrompts does.
  void Advance(const StepOutputs& outputs, int64_t attention_length);

  // What the last step brought the hypotheses that went on, if tokens are final (SearchOptions);
  // before the first step, which ended with their prompts.
  std::vector<NewToken> NewTokens() const;

  // Of each sentence.
  std::vector<std::vector<Found>> Results() const;

 private:
  // Where excluded_ has the tokens that may not come behind a row.
  struct Row {
    int32_t excluded_begin, excluded_end;
  };

  void FillUp(const StepInputs& inputs, int64_t rows) const;
  void ListPenalized(const BeamSearch& search, int row, int64_t place, const StepInputs& inputs);
  void ListExcluded(const StepInputs& inputs);
  bool Samples() const { return options_.samples > 0; }
  RowCandidates CandidatesOf(int64_t row, const StepOutputs& outputs, Candidate* memory) const;
  bool IsExcluded(const Row& row, int32_t token) const;
  void DropThoseDone();

  const GenerationOptions& options_;
  const std::vector<SentenceStart>& sentences_;
  std::vector<BeamSearch> searches_;
  int64_t max_length_;
  StepLimits limits_;
  int64_t most_candidates_;
  int64_t spare_slot_;
  std::vector<int> active_;          // searches that go on
  std::vector<int> advanced_;        // searches that the last step was of
  std::vector<int> first_row_;       // of each search, in the last step that was prepared
  std::vector<int> prompt_lengths_;  // of each sentence
  // Of one step.
  StepWork work_;
  std::vector<Row> rows_;
  std::vector<int32_t> excluded_;
  std::vector<Candidate> candidates_;
  std::vector<RowCandidates> row_candidates_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_SEARCH_BATCH_H_
