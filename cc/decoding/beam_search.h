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

// What a step of the model brings for one row.
struct RowCandidates {
  // The best of what the row may choose, best first and of equals the lower token first; none if
  // nothing may come.
  const Candidate* candidates;
  int count;
  // What the row attended to, of the source's length; null if nobody wants to know.
  const float* attention;
};

// A hypothesis that is returned.
struct Found {
  std::vector<int32_t> tokens;  // EOS included, if it came
  std::vector<float> log_probs;
  std::vector<float> attention;  // [tokens, source_length], if it was asked for
  double score;
};

// The search of one sentence, without the model: it is told what a step's rows may choose, and says
// which rows there are next. It is the same on every device, and runs on the host.
//
// Cost of a step: beam_size comparisons for each hypothesis that is chosen.
class BeamSearch {
 public:
  // `options` must outlive it. source_length is negative without a source.
  BeamSearch(const SearchOptions& options, int source_length);

  bool done() const { return rows_.empty(); }
  // The rows of the next step: hypotheses that have not ended, one without tokens at first.
  int row_count() const { return static_cast<int>(rows_.size()); }
  // How many tokens each has.
  int length() const { return steps_; }
  // The last of them; there must be one.
  int32_t LastToken(int row) const { return tree_.Token(beam_[rows_[row]].node); }
  std::vector<int32_t> Tokens(int row) const { return tree_.Tokens(beam_[rows_[row]].node); }
  // Adds the tokens that may not come next, without those that may never come (forbidden_tokens).
  void AddExcluded(int row, std::vector<int32_t>* excluded) const;

  // How many candidates a row has to bring, if it has as many.
  int candidate_count() const { return options_.beam_size + (options_.early_stopping ? 1 : 0); }
  // One step, given what each row brings: a token that is forced is a row's only candidate.
  // Attention is needed if there is a coverage penalty, or if it is to be returned. Afterwards
  // parents()[row] is the row that each row continues. (The first continues the first.)
  void Advance(const RowCandidates* rows);
  const std::vector<int>& parents() const { return parents_; }
  // What the last step brought a beam of one; false if nothing might come.
  bool NewestToken(Candidate* newest) const;

  // The best hypotheses, best first.
  std::vector<Found> Results() const;

 private:
  // What each source position got so far, and what the coverage penalty makes of it.
  struct Coverage {
    std::shared_ptr<const std::vector<float>> attended;
    double penalty = 0.0;
  };
  struct Hypothesis {
    int node = TokenTree::kRoot;  // of the last token
    int length = 0;
    double log_prob = 0.0;
    bool has_eos = false;
    bool ended = false;  // by EOS, or because nothing may follow
    Coverage coverage;
    double search_score = 0.0;
  };
  // What a hypothesis of the beam may become, best first. `candidate` is the next; null if the
  // hypothesis stays as it is.
  struct Continuations {
    int from;             // in the beam
    int row;              // of the hypothesis; -1 if it stays as it is
    int left;             // how many there are
    int rank;             // of the next, from 1
    double value;         // what it is ranked by
    double log_prob;      // with it
    double search_score;  // with it
    int remembered;       // where attention_ has the row's; -1: not yet
    Coverage coverage;    // with this step's attention
    const Candidate* candidate;

    // Of equals none is, so that the earlier comes first.
    static bool IsWorse(const Continuations& a, const Continuations& b) {
      if (a.left == 0 || b.left == 0) return a.left < b.left;
      return a.value < b.value;
    }
    bool ends(int32_t eos) const { return candidate == nullptr || candidate->token == eos; }
  };

  // Fills continuations_, of each hypothesis of the beam.
  void FindContinuations(const RowCandidates* rows);
  void Rank(double divisor, Continuations* continuations) const;
  Hypothesis Continued(const RowCandidates* rows, Continuations* continuations);
  int Remember(const float* attention);
  void Cover(const float* attention, Coverage* coverage) const;
  double Divisor(int length, bool has_eos) const;
  double Score(const Hypothesis& hypothesis) const;
  // What the sums of this step's candidates are divided by to rank them.
  double SearchDivisor() const;
  void FindRows();

  const SearchOptions& options_;
  const int source_length_;
  const int limit_;
  int steps_ = 0;
  TokenTree tree_;
  std::vector<float> attention_;  // of all steps' rows, one behind the other
  std::vector<Hypothesis> beam_;
  std::vector<Hypothesis> finished_;  // with early stopping: those that left the beam
  std::vector<int> origins_;          // for each in the beam, the row that it continues
  std::vector<int> rows_;             // where in the beam the rows are
  std::vector<int> parents_;
  // Of one step; here, so that memory is not asked for in every step.
  std::vector<Continuations> continuations_;
  std::vector<Hypothesis> next_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_BEAM_SEARCH_H_
