#include "cc/decoding/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace tf_ls {
namespace {

constexpr float kLeastCoverage = 1e-6f;

// Tokens that would complete an n-gram which is there already.
void AddRepeating(const std::vector<int32_t>& tokens, int n, std::vector<int32_t>* excluded) {
  const int count = static_cast<int>(tokens.size());
  const auto last = tokens.end() - std::min(count, n - 1);
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

Choice BeamSearch::ChoiceOf(int row) const {
  Choice choice;
  const std::vector<int32_t> tokens = Tokens(row);
  if (tokens.size() < prefix_.size()) {
    choice.forced = prefix_[tokens.size()];
    return choice;
  }
  choice.excluded = options_.forbidden_tokens;
  if (static_cast<int>(tokens.size()) + 1 < options_.min_length) {
    choice.excluded.push_back(options_.eos);
  }
  if (options_.no_repeat_ngram_size > 0) {
    AddRepeating(tokens, options_.no_repeat_ngram_size, &choice.excluded);
  }
  return choice;
}

void BeamSearch::Advance(const std::vector<std::vector<Candidate>>& candidates,
                         const std::vector<const float*>& attention) {
  ++steps_;
  std::vector<Continuation> continuations = Continue(candidates, attention);
  beam_.clear();
  origins_.clear();
  for (size_t i = 0; i < continuations.size(); ++i) {
    Continuation& best = continuations[i];
    // What has ended leaves the beam if it is among the best of all; others take the places.
    const bool leaves = options_.early_stopping && best.hypothesis.ended;
    const size_t places = options_.beam_size;
    if (leaves ? i >= places : beam_.size() >= places) continue;
    if (best.row >= 0) {
      best.hypothesis.node =
          tree_.Add(best.hypothesis.node, best.candidate.token, best.candidate.log_prob);
    }
    if (leaves) {
      finished_.push_back(std::move(best.hypothesis));
    } else {
      beam_.push_back(std::move(best.hypothesis));
      origins_.push_back(best.row);
    }
  }
  const double patient = std::floor(options_.patience * options_.beam_size + 0.5);
  const double enough = std::max<double>(options_.num_hypotheses, patient);
  if (options_.early_stopping && static_cast<double>(finished_.size()) >= enough) beam_.clear();
  FindRows();
}

std::vector<BeamSearch::Continuation> BeamSearch::Continue(
    const std::vector<std::vector<Candidate>>& candidates,
    const std::vector<const float*>& attention) {
  const auto better = [](const Continuation& a, const Continuation& b) {
    return a.value > b.value;
  };
  std::vector<Continuation> all;
  int row = 0;
  for (const Hypothesis& hypothesis : beam_) {
    const size_t first = all.size();
    if (!hypothesis.ended) {
      Hypothesis extended = hypothesis;
      ++extended.length;
      if (options_.coverage_penalty > 0.0) Cover(attention[row], &extended);
      for (const Candidate& candidate : candidates[row]) {
        extended.log_prob = hypothesis.log_prob + candidate.log_prob;
        extended.ended = extended.has_eos = candidate.token == options_.eos;
        all.push_back({SearchScore(extended), extended, row, candidate});
      }
      ++row;
    }
    if (all.size() == first) {
      all.push_back({SearchScore(hypothesis), hypothesis, -1, {}});
      all.back().hypothesis.ended = true;
    }
    std::stable_sort(all.begin() + first, all.end(), better);
    for (size_t i = first; i < all.size(); ++i) {
      all[i].value -= options_.diversity * static_cast<double>(i - first + 1);
    }
  }
  std::stable_sort(all.begin(), all.end(), better);
  return all;
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

double BeamSearch::Divisor(const Hypothesis& hypothesis) const {
  const double length = hypothesis.length;
  const double alpha = options_.length_penalty_alpha;
  if (options_.length_penalty == LengthPenalty::kNone) return 1.0;
  if (options_.length_penalty == LengthPenalty::kExponent) return std::pow(length, alpha);
  if (alpha >= 0.0) return std::pow((5.0 + length) / 6.0, alpha);
  if (options_.length_penalty == LengthPenalty::kNeurst) return length;
  return hypothesis.has_eos ? length - 1.0 : length;
}

double BeamSearch::Score(const Hypothesis& hypothesis) const {
  const double divisor = Divisor(hypothesis);
  if (divisor == 0.0) return -std::numeric_limits<double>::infinity();
  return hypothesis.log_prob / divisor + hypothesis.coverage;
}

double BeamSearch::SearchScore(const Hypothesis& hypothesis) const {
  const bool undivided =
      options_.length_penalty == LengthPenalty::kLightseq && options_.length_penalty_alpha < 0.0;
  return undivided ? hypothesis.log_prob + hypothesis.coverage : Score(hypothesis);
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
    results.push_back({tree_.Tokens(hypothesis->node), tree_.LogProbs(hypothesis->node), score});
  }
  return results;
}

}  // namespace tf_ls
