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

BeamSearch::BeamSearch(const SearchOptions& options, int source_length)
    : options_(options),
      source_length_(source_length),
      limit_(options.LengthLimit(source_length)),
      beam_(1),
      origins_(1, 0) {
  FindRows();
}

void BeamSearch::AddExcluded(int row, std::vector<int32_t>* excluded) const {
  if (steps_ + 1 < options_.min_length) excluded->push_back(options_.eos);
  if (options_.no_repeat_ngram_size > 0) {
    AddRepeating(Tokens(row), options_.no_repeat_ngram_size, excluded);
  }
}

// Each hypothesis' continuations come best first, so those of all are merged as far as there is
// room.
void BeamSearch::Advance(const RowCandidates* rows) {
  ++steps_;
  FindContinuations(rows);
  const double divisor = SearchDivisor();
  const size_t places = options_.beam_size;
  next_.clear();
  origins_.clear();
  for (size_t i = 0; next_.size() < places || (options_.early_stopping && i < places); ++i) {
    const auto best =
        std::max_element(continuations_.begin(), continuations_.end(), Continuations::IsWorse);
    if (best->left == 0) break;
    // What has ended leaves the beam if it is among the best of all; others take the places.
    const bool leaves = options_.early_stopping && best->ends(options_.eos);
    if (leaves && i < places) {
      finished_.push_back(Continued(rows, &*best));
    } else if (!leaves && next_.size() < places) {
      next_.push_back(Continued(rows, &*best));
      origins_.push_back(best->row);
    }
    if (best->candidate != nullptr) ++best->candidate;
    --best->left;
    ++best->rank;
    Rank(divisor, &*best);
  }
  beam_.swap(next_);
  const double patient = std::floor(options_.patience * options_.beam_size + 0.5);
  const double enough = std::max<double>(options_.num_hypotheses, patient);
  if (options_.early_stopping && static_cast<double>(finished_.size()) >= enough) beam_.clear();
  FindRows();
}

bool BeamSearch::NewestToken(Candidate* newest) const {
  const Hypothesis& hypothesis = beam_[0];
  if (hypothesis.length < steps_) return false;
  *newest = {tree_.Token(hypothesis.node), tree_.LogProb(hypothesis.node)};
  return true;
}

void BeamSearch::FindContinuations(const RowCandidates* rows) {
  const double divisor = SearchDivisor();
  continuations_.clear();
  int row = 0;
  for (int i = 0; i < static_cast<int>(beam_.size()); ++i) {
    const Hypothesis& hypothesis = beam_[i];
    const RowCandidates* const choice = hypothesis.ended ? nullptr : rows + row++;
    continuations_.push_back({});
    Continuations& continuations = continuations_.back();
    continuations.from = i;
    continuations.rank = 1;
    continuations.remembered = kNoAttention;
    if (choice == nullptr || choice->count == 0) {
      continuations.row = -1;
      continuations.left = 1;
      continuations.candidate = nullptr;
    } else {
      continuations.row = row - 1;
      continuations.left = choice->count;
      continuations.candidate = choice->candidates;
      continuations.coverage = hypothesis.coverage;
      if (options_.coverage_penalty > 0.0) Cover(choice->attention, &continuations.coverage);
    }
    Rank(divisor, &continuations);
  }
}

// All that have not ended have the same length, so that candidates keep their order when they are
// divided by it.
void BeamSearch::Rank(double divisor, Continuations* continuations) const {
  if (continuations->left == 0) return;
  const Hypothesis& hypothesis = beam_[continuations->from];
  if (continuations->candidate == nullptr) {
    continuations->search_score = hypothesis.search_score;
  } else {
    continuations->log_prob = hypothesis.log_prob + continuations->candidate->log_prob;
    continuations->search_score =
        continuations->log_prob / divisor + continuations->coverage.penalty;
  }
  continuations->value = continuations->search_score - options_.diversity * continuations->rank;
}

BeamSearch::Hypothesis BeamSearch::Continued(const RowCandidates* rows,
                                             Continuations* continuations) {
  const Hypothesis& before = beam_[continuations->from];
  if (continuations->candidate == nullptr) {
    Hypothesis same = before;
    same.ended = true;
    return same;
  }
  int& remembered = continuations->remembered;
  if (options_.return_attention && remembered == kNoAttention) {
    remembered = Remember(rows[continuations->row].attention);
  }
  const Candidate& candidate = *continuations->candidate;
  const bool ends = continuations->ends(options_.eos);
  Hypothesis hypothesis;
  hypothesis.node = tree_.Add(before.node, candidate.token, candidate.log_prob, remembered);
  hypothesis.length = before.length + 1;
  hypothesis.log_prob = continuations->log_prob;
  hypothesis.has_eos = hypothesis.ended = ends;
  hypothesis.coverage = continuations->coverage;
  hypothesis.search_score = continuations->search_score;
  return hypothesis;
}

// Returns which of attention_'s rows it is.
int BeamSearch::Remember(const float* attention) {
  attention_.insert(attention_.end(), attention, attention + source_length_);
  return source_length_ == 0 ? 0 : static_cast<int>(attention_.size() / source_length_) - 1;
}

void BeamSearch::Cover(const float* attention, Coverage* coverage) const {
  std::vector<float> attended(source_length_);
  coverage->penalty = 0.0;
  for (int i = 0; i < source_length_; ++i) {
    attended[i] = attention[i];
    if (coverage->attended != nullptr) attended[i] += (*coverage->attended)[i];
    coverage->penalty += std::log(std::min(std::max(attended[i], kLeastCoverage), 1.0f));
  }
  coverage->penalty *= options_.coverage_penalty;
  coverage->attended = std::make_shared<const std::vector<float>>(std::move(attended));
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
  return hypothesis.log_prob / divisor + hypothesis.coverage.penalty;
}

double BeamSearch::SearchDivisor() const {
  const bool undivided =
      options_.length_penalty == LengthPenalty::kLightseq && options_.length_penalty_alpha < 0.0;
  return undivided ? 1.0 : Divisor(steps_, /*has_eos=*/false);
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
