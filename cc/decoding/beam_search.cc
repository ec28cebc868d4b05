#include "cc/decoding/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace tf_ls {
namespace {

constexpr float kLeastCoverage = 1e-6f;
constexpr int kNoAttention = -1;

// Tokens that would complete an n-gram which is there already.
void AddRepeating(const std::vector<int32_t>& tokens, int n, std::vector<int32_t>* excluded) {
  const int count = static_cast<int>(tokens.size());
  if (count < n) return;
  const auto last = tokens.end() - (n - 1);
  for (int i = 0; i + n <= count; ++i) {
    if (std::equal(last, tokens.end(), tokens.begin() + i)) excluded->push_back(tokens[i + n - 1]);
  }
}

}  // namespace

BeamSearch::BeamSearch(const SearchOptions& options, std::vector<int32_t> prefix, int source_length)
    : options_(options),
      prefix_(std::move(prefix)),
      source_length_(source_length),
      limit_(options.LengthLimit(source_length)),
      beam_(1),
      origins_(1, -1) {
  FindRows();
}

int32_t BeamSearch::ForcedToken() const {
  return steps_ < static_cast<int>(prefix_.size()) ? prefix_[steps_] : -1;
}

void BeamSearch::AddExcluded(int row, std::vector<int32_t>* excluded) const {
  if (steps_ + 1 < options_.min_length) excluded->push_back(options_.eos);
  if (options_.no_repeat_ngram_size > 0) {
    AddRepeating(Tokens(row), options_.no_repeat_ngram_size, excluded);
  }
}

void BeamSearch::Advance(const RowCandidates* rows) {
  ++steps_;
  FindContinuations(rows);
  remembered_.assign(rows_.size(), kNoAttention);
  next_.clear();
  origins_.clear();
  for (size_t i = 0; i < continuations_.size(); ++i) {
    const Continuation& best = continuations_[i];
    // What has ended leaves the beam if it is among the best of all; others take the places.
    const bool leaves = options_.early_stopping && best.ended;
    const size_t places = options_.beam_size;
    if (leaves ? i >= places : next_.size() >= places) continue;
    if (leaves) {
      finished_.push_back(Continued(best, rows));
    } else {
      next_.push_back(Continued(best, rows));
      origins_.push_back(best.row);
    }
  }
  beam_.swap(next_);
  const double patient = std::floor(options_.patience * options_.beam_size + 0.5);
  const double enough = std::max<double>(options_.num_hypotheses, patient);
  if (options_.early_stopping && static_cast<double>(finished_.size()) >= enough) beam_.clear();
  FindRows();
}

// All that have not ended have the same length, so that a row's candidates keep their order when
// they are divided by it.
void BeamSearch::FindContinuations(const RowCandidates* rows) {
  const double divisor = SearchesUndivided() ? 1.0 : Divisor(steps_, /*has_eos=*/false);
  continuations_.clear();
  covered_.clear();
  const auto add = [&](int rank, Continuation continuation) {
    continuation.value = continuation.search_score - options_.diversity * rank;
    continuation.order = static_cast<int>(continuations_.size());
    continuations_.push_back(continuation);
  };
  for (int i = 0; i < static_cast<int>(beam_.size()); ++i) {
    const Hypothesis& hypothesis = beam_[i];
    const int row = static_cast<int>(covered_.size());
    const RowCandidates* const choice = hypothesis.ended ? nullptr : rows + row;
    if (choice != nullptr) {
      covered_.push_back(hypothesis);
      if (choice->count > 0 && options_.coverage_penalty > 0.0) {
        Cover(choice->attention, &covered_.back());
      }
    }
    if (choice == nullptr || choice->count == 0) {
      add(1, {0, 0, i, -1, nullptr, hypothesis.log_prob, hypothesis.search_score, true});
      continue;
    }
    for (int k = 0; k < choice->count; ++k) {
      const Candidate& candidate = choice->candidates[k];
      const double log_prob = hypothesis.log_prob + candidate.log_prob;
      add(k + 1, {0, 0, i, row, &candidate, log_prob, log_prob / divisor + covered_[row].coverage,
                  candidate.token == options_.eos});
    }
  }
  std::sort(continuations_.begin(), continuations_.end(),
            [](const Continuation& a, const Continuation& b) {
              return a.value > b.value || (a.value == b.value && a.order < b.order);
            });
}

BeamSearch::Hypothesis BeamSearch::Continued(const Continuation& continuation,
                                             const RowCandidates* rows) {
  if (continuation.candidate == nullptr) {
    Hypothesis same = beam_[continuation.from];
    same.ended = true;
    return same;
  }
  int& remembered = remembered_[continuation.row];
  if (options_.return_attention && remembered == kNoAttention) {
    remembered = Remember(rows[continuation.row].attention);
  }
  Hypothesis hypothesis = covered_[continuation.row];
  hypothesis.node = tree_.Add(hypothesis.node, continuation.candidate->token,
                              continuation.candidate->log_prob, remembered);
  ++hypothesis.length;
  hypothesis.log_prob = continuation.log_prob;
  hypothesis.search_score = continuation.search_score;
  hypothesis.ended = hypothesis.has_eos = continuation.ended;
  return hypothesis;
}

// Returns which of attention_'s rows it is.
int BeamSearch::Remember(const float* attention) {
  attention_.insert(attention_.end(), attention, attention + source_length_);
  return source_length_ == 0 ? 0 : static_cast<int>(attention_.size() / source_length_) - 1;
}

void BeamSearch::Cover(const float* attention, Hypothesis* hypothesis) const {
  std::vector<float> attended(source_length_);
  hypothesis->coverage = 0.0;
  for (int i = 0; i < source_length_; ++i) {
    attended[i] = attention[i];
    if (hypothesis->attended != nullptr) attended[i] += (*hypothesis->attended)[i];
    hypothesis->coverage += std::log(std::min(std::max(attended[i], kLeastCoverage), 1.0f));
  }
  hypothesis->coverage *= options_.coverage_penalty;
  hypothesis->attended = std::make_shared<const std::vector<float>>(std::move(attended));
}

double BeamSearch::Divisor(int length, bool has_eos) const {
  const double alpha = options_.length_penalty_alpha;
  if (options_.length_penalty == LengthPenalty::kNone) return 1.0;
  if (options_.length_penalty == LengthPenalty::kExponent) return std::pow(length, alpha);
  if (alpha >= 0.0) return std::pow((5.0 + length) / 6.0, alpha);
  if (options_.length_penalty == LengthPenalty::kNeurst) return length;
  return has_eos ? length - 1.0 : length;
}

double BeamSearch::Score(const Hypothesis& hypothesis) const {
  const double divisor = Divisor(hypothesis.length, hypothesis.has_eos);
  if (divisor == 0.0) return -std::numeric_limits<double>::infinity();
  return hypothesis.log_prob / divisor + hypothesis.coverage;
}

bool BeamSearch::SearchesUndivided() const {
  return options_.length_penalty == LengthPenalty::kLightseq && options_.length_penalty_alpha < 0.0;
}

void BeamSearch::FindRows() {
  rows_.clear();
  parents_.clear();
  if (steps_ == limit_) return;
  for (size_t i = 0; i < beam_.size(); ++i) {
    if (beam_[i].ended) continue;
    rows_.push_back(static_cast<int>(i));
    parents_.push_back(origins_[i]);
  }
}

std::vector<Found> BeamSearch::Results() const {
  std::vector<std::pair<double, const Hypothesis*>> ranked;
  for (const auto* hypotheses : {&finished_, &beam_}) {
    for (const Hypothesis& hypothesis : *hypotheses) {
      ranked.emplace_back(Score(hypothesis), &hypothesis);
    }
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  if (static_cast<int>(ranked.size()) > options_.num_hypotheses) {
    ranked.resize(options_.num_hypotheses);
  }
  std::vector<Found> results;
  for (const auto& [score, hypothesis] : ranked) {
    Found found = {tree_.Tokens(hypothesis->node), tree_.LogProbs(hypothesis->node), {}, score};
    if (options_.return_attention) {
      for (const int place : tree_.Attention(hypothesis->node)) {
        const auto start = attention_.begin() + place * int64_t{source_length_};
        found.attention.insert(found.attention.end(), start, start + source_length_);
      }
    }
    results.push_back(std::move(found));
  }
  return results;
}

}  // namespace tf_ls
