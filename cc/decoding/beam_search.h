#ifndef TF_LS_CC_DECODING_BEAM_SEARCH_H_
#define TF_LS_CC_DECODING_BEAM_SEARCH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "cc/decoding/search_options.h"
#include "cc/decoding/token_tree.h"

namespace tf_ls {

// A token that may come next, with its log-probability.
struct Candidate {
  int32_t token;
  float log_prob;
};

// What one row of a step may choose from.
struct Choice {
  int32_t forced = -1;            // the only token that may come, if there is one
  std::vector<int32_t> excluded;  // else those that may not
};

// A hypothesis that is returned.
struct Found {
  std::vector<int32_t> tokens;  // EOS included, if it came
  std::vector<float> log_probs;
  double score;
};

// The search of one sentence, without the model: it is told what a step's rows may choose, and says
// which rows there are next. It is the same on every device, and runs on the host; what it costs is
// nothing beside a step of the model.
class BeamSearch {
 public:
  // `options` must outlive it. `prefix` is forced; source_length is negative without a source.
  BeamSearch(const SearchOptions& options, std::vector<int32_t> prefix, int source_length);

  bool done() const { return rows_.empty(); }

  // The rows of the next step: hypotheses that have not ended, one without tokens at first.
  int row_count() const { return static_cast<int>(rows_.size()); }
  std::vector<int32_t> Tokens(int row) const { return tree_.Tokens(beam_[rows_[row]].node); }
  Choice ChoiceOf(int row) const;

  // How many candidates a row has to bring.
  int candidate_count() const { return options_.beam_size + (options_.early_stopping ? 1 : 0); }

  // One step. candidates[row]: the best of what the row may choose, best first and of equals the
  // lower token first; none if nothing may come. attention[row], of the source's length, is read if
  // there is a coverage penalty, and may be null otherwise. Afterwards parents()[row] is the row
  // that each row continues.
  void Advance(const std::vector<std::vector<Candidate>>& candidates,
               const std::vector<const float*>& attention);
  const std::vector<int>& parents() const { return parents_; }

  // The best hypotheses, best first.
  std::vector<Found> Results() const;

 private:
  struct Hypothesis {
    int node = TokenTree::kRoot;  // of the last token; of the one before while it is a candidate
    int length = 0;
    double log_prob = 0.0;
    bool has_eos = false;
    bool ended = false;  // by EOS, or because nothing may follow
    // What each source position got so far, and what the coverage penalty makes of it.
    std::shared_ptr<const std::vector<float>> attended;
    double coverage = 0.0;
  };
  struct Continuation {
    double value;  // what continuations are ranked by
    Hypothesis hypothesis;
    int row;  // that it continues; -1 if it had ended before
    Candidate candidate;
  };

  // Continuations of all hypotheses, best first.
  std::vector<Continuation> Continue(const std::vector<std::vector<Candidate>>& candidates,
                                     const std::vector<const float*>& attention);
  void Cover(const float* attention, Hypothesis* hypothesis) const;
  double Divisor(const Hypothesis& hypothesis) const;
  double Score(const Hypothesis& hypothesis) const;
  double SearchScore(const Hypothesis& hypothesis) const;
  void FindRows();

  const SearchOptions& options_;
  const std::vector<int32_t> prefix_;
  const int source_length_;
  const int limit_;
  int steps_ = 0;
  TokenTree tree_;
  std::vector<Hypothesis> beam_;
  std::vector<Hypothesis> finished_;  // with early stopping: those that left the beam
  std::vector<int> origins_;          // for each in the beam, the row that it continues
  std::vector<int> rows_;             // where in the beam the rows are
  std::vector<int> parents_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_BEAM_SEARCH_H_
