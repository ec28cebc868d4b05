#include "cc/decoding/search_batch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "cc/kernels/top_k.h"

namespace tf_ls {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

[[noreturn]] void ThrowNoProbabilities(int64_t sentence, int64_t position) {
  throw std::invalid_argument(
      "the model's logits must be numbers, got NaN or infinity (or nothing but minus infinity)"
      " for sentence " +
      std::to_string(sentence) + " at position " + std::to_string(position));
}

float LogProb(float logit, double log_sum) {
  return static_cast<float>(static_cast<double>(logit) - log_sum);
}

// Advances a search by each token of its prompt, unless the model says that one may not come.
void ForcePrompt(const PromptRows& rows, const PromptScores& scores, int64_t begin, int64_t end,
                 BeamSearch* search) {
  for (int64_t row = begin; row < end && !search->done(); ++row) {
    if (std::isnan(scores.log_sums[row])) {
      ThrowNoProbabilities(rows.sentence_of[row], rows.positions[row]);
    }
    const float logit = scores.next_logits[row];
    const Candidate next = {rows.next_tokens[row], LogProb(logit, scores.log_sums[row])};
    const RowCandidates candidates = {&next, logit > kMinusInfinity ? 1 : 0, scores.Attention(row)};
    search->Advance(&candidates);
  }
}

}  // namespace

SearchBatch::SearchBatch(const GenerationOptions& options,
                         const std::vector<SentenceStart>& sentences)
    : options_(options), sentences_(sentences) {
  const SearchOptions& search = options.search;
  max_length_ = 1;
  searches_.reserve(sentences.size() * options.SearchesOfSentence());
  for (const SentenceStart& sentence : sentences) {
    max_length_ = std::max<int64_t>(max_length_, search.LengthLimit(sentence.source_length));
    for (int i = 0; i < options.SearchesOfSentence(); ++i) {
      active_.push_back(static_cast<int>(searches_.size()));
      searches_.emplace_back(search, sentence.source_length);
    }
    prompt_lengths_.push_back(PromptLength(search, sentence));
  }
  first_row_ = active_;  // what the first step's rows continue is a row of each
  const int64_t beams = static_cast<int64_t>(searches_.size()) * search.beam_size;
  spare_slot_ = beams;
  limits_.rows = FilledUp(beams);
  // A row's own exclusions are EOS and one for each token, if n-grams may not come again.
  const int64_t repeated = search.no_repeat_ngram_size > 0 ? max_length_ : 0;
  const int64_t own = repeated + (search.min_length > 0 ? 1 : 0);
  const auto forbidden = static_cast<int64_t>(search.forbidden_tokens.size());
  const int64_t penalized = options.repetition_penalty != 1.0f ? max_length_ : 0;
  limits_.listed = forbidden + limits_.rows * (penalized + (own > 0 ? own + forbidden : 0));
  most_candidates_ = std::min<int64_t>(kMostOfTopK, search.beam_size + 1 + own + forbidden);
}

FirstPaths SearchBatch::PathsOfPrompts() const {
  FirstPaths paths;
  for (size_t i = 0; i < searches_.size(); ++i) {
    const int64_t sentence = i / options_.SearchesOfSentence();
    const int length = prompt_lengths_[sentence];
    paths.lengths.push_back(length);
    if (length == 0) continue;
    paths.slots.resize((i + 1) * max_length_);
    std::fill_n(paths.slots.end() - max_length_, length, PromptSlot(options_, sentence));
  }
  return paths;
}

void SearchBatch::TakePrompts(const PromptRows& rows, const PromptScores& scores) {
  const int of_sentence = options_.SearchesOfSentence();
  for (size_t i = 0; i < rows.sentences.size(); ++i) {
    for (int j = 0; j < of_sentence; ++j) {
      const int index = rows.sentences[i] * of_sentence + j;
      ForcePrompt(rows, scores, rows.offsets[i], rows.offsets[i + 1], &searches_[index]);
      advanced_.push_back(index);
    }
  }
  DropThoseDone();
}

void SearchBatch::DropThoseDone() {
  active_.erase(std::remove_if(active_.begin(), active_.end(),
                               [&](int index) { return searches_[index].done(); }),
                active_.end());
}

StepWork SearchBatch::Prepare(const StepInputs& inputs) {
  work_ = StepWork();
  rows_.clear();
  excluded_.clear();
  int64_t most_excluded = 0;
  for (const int index : active_) {
    const BeamSearch& search = searches_[index];
    const int before = first_row_[index];
    first_row_[index] = static_cast<int>(rows_.size());
    const int sentence = index / options_.SearchesOfSentence();
    const int position = search.length();
    for (int row = 0; row < search.row_count(); ++row) {
      const int64_t place = static_cast<int64_t>(rows_.size());
      const auto begin = static_cast<int32_t>(excluded_.size());
      search.AddExcluded(row, &excluded_);
      const auto end = static_cast<int32_t>(excluded_.size());
      rows_.push_back({begin, end});
      most_excluded = std::max<int64_t>(most_excluded, end - begin);
      inputs.tokens[place] = position == 0 ? sentences_[sentence].token : search.LastToken(row);
      inputs.positions[place] = position;
      inputs.parents[place] = before + search.parents()[row];
      inputs.slots[place] = index * options_.search.beam_size + row;
      inputs.sentence_of[place] = sentence;
      inputs.counters[place] = {static_cast<uint32_t>(position),
                                static_cast<uint32_t>(index % options_.SearchesOfSentence()),
                                static_cast<uint32_t>(sentence)};
      if (options_.repetition_penalty != 1.0f) ListPenalized(search, row, place, inputs);
    }
  }
  // Excluded words are looked for, too, and left out; if they are too many, they are taken out of
  // the logits. Sampling takes them out anyway.
  work_.most_excluded =
      most_excluded + static_cast<int64_t>(options_.search.forbidden_tokens.size());
  const int64_t most = searches_[active_[0]].candidate_count();
  work_.k = Samples() ? 1 : most + work_.most_excluded;
  work_.has_excluded = Samples() ? work_.most_excluded > 0 : work_.k > kMostOfTopK;
  if (work_.has_excluded) ListExcluded(inputs);
  if (work_.k > kMostOfTopK) work_.k = most;
  work_.rows = FilledUp(static_cast<int64_t>(rows_.size()));
  FillUp(inputs, work_.rows);
  return work_;
}

void SearchBatch::ListPenalized(const BeamSearch& search, int row, int64_t place,
                                const StepInputs& inputs) {
  inputs.penalized_begin[place] = inputs.penalized_end[place] = static_cast<int32_t>(work_.listed);
  std::vector<int32_t> tokens = search.Tokens(row);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  std::copy(tokens.begin(), tokens.end(), inputs.listed + work_.listed);
  work_.listed += static_cast<int64_t>(tokens.size());
  inputs.penalized_end[place] = static_cast<int32_t>(work_.listed);
}

// Rows that exclude no more than what is forbidden share one list.
void SearchBatch::ListExcluded(const StepInputs& inputs) {
  const auto list = [&](auto begin, auto end) {
    std::copy(begin, end, inputs.listed + work_.listed);
    work_.listed += end - begin;
    return static_cast<int32_t>(work_.listed);
  };
  const std::vector<int32_t>& forbidden = options_.search.forbidden_tokens;
  const auto shared_begin = static_cast<int32_t>(work_.listed);
  const int32_t shared_end = list(forbidden.begin(), forbidden.end());
  for (size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    const bool shares = row.excluded_begin == row.excluded_end;
    inputs.excluded_begin[i] = shares ? shared_begin : static_cast<int32_t>(work_.listed);
    if (!shares) {
      list(excluded_.begin() + row.excluded_begin, excluded_.begin() + row.excluded_end);
    }
    inputs.excluded_end[i] = shares ? shared_end : list(forbidden.begin(), forbidden.end());
  }
}

// Rows that fill up do what the first row does, with slots of their own; nobody looks at them.
void SearchBatch::FillUp(const StepInputs& inputs, int64_t rows) const {
  const auto used = static_cast<int64_t>(rows_.size());
  for (int64_t i = used; i < rows; ++i) {
    for (int32_t* const numbers :
         {inputs.tokens, inputs.positions, inputs.parents, inputs.sentence_of}) {
      numbers[i] = numbers[0];
    }
    inputs.slots[i] = static_cast<int32_t>(spare_slot_ + i - used);
    inputs.counters[i] = inputs.counters[0];
    for (int32_t* const places : {inputs.penalized_begin, inputs.penalized_end,
                                  inputs.excluded_begin, inputs.excluded_end}) {
      places[i] = 0;
    }
  }
}

void SearchBatch::Advance(const StepOutputs& outputs, int64_t attention_length) {
  if (*outputs.bad_row >= 0 && *outputs.bad_row < static_cast<int64_t>(rows_.size())) {
    const int32_t row = static_cast<int32_t>(*outputs.bad_row);
    const auto of_row = std::find_if(active_.rbegin(), active_.rend(),
                                     [&](int index) { return first_row_[index] <= row; });
    ThrowNoProbabilities(*of_row / options_.SearchesOfSentence(), searches_[*of_row].length());
  }
  candidates_.resize(work_.rows * most_candidates_);
  row_candidates_.clear();
  for (size_t i = 0; i < rows_.size(); ++i) {
    row_candidates_.push_back(CandidatesOf(i, outputs, candidates_.data() + i * most_candidates_));
    if (outputs.attention != nullptr) {
      row_candidates_.back().attention = outputs.attention + i * attention_length;
    }
  }
  for (const int index : active_) searches_[index].Advance(&row_candidates_[first_row_[index]]);
  advanced_ = active_;
  DropThoseDone();
}

std::vector<NewToken> SearchBatch::NewTokens() const {
  std::vector<NewToken> tokens;
  const int of_sentence = options_.SearchesOfSentence();
  for (const int index : advanced_) {
    const BeamSearch& search = searches_[index];
    NewToken token = {index / of_sentence, index % of_sentence, -1, 0.0f, search.done()};
    Candidate newest;
    const bool is_behind_prompt = search.length() > prompt_lengths_[token.sentence];
    if (is_behind_prompt && search.NewestToken(&newest)) {
      token.token = newest.token;
      token.log_prob = newest.log_prob;
    }
    if (token.token >= 0 || token.is_last) tokens.push_back(token);
  }
  return tokens;
}

RowCandidates SearchBatch::CandidatesOf(int64_t row, const StepOutputs& outputs,
                                        Candidate* memory) const {
  int count = 0;
  const auto add = [&](int32_t token, float logit) {
    memory[count++] = {token, LogProb(logit, outputs.log_sums[row])};
  };
  if (Samples()) {
    if (outputs.ids[row] >= 0) memory[count++] = {outputs.ids[row], outputs.logits[row]};
    return {memory, count, nullptr};
  }
  const int most = searches_[active_[0]].candidate_count();
  for (int64_t i = row * work_.k; i < (row + 1) * work_.k && count < most; ++i) {
    if (outputs.ids[i] < 0 || outputs.logits[i] == kMinusInfinity) break;
    if (work_.has_excluded || !IsExcluded(rows_[row], outputs.ids[i])) {
      add(outputs.ids[i], outputs.logits[i]);
    }
  }
  return {memory, count, nullptr};
}

bool SearchBatch::IsExcluded(const Row& row, int32_t token) const {
  const auto is_among = [token](auto begin, auto end) {
    return std::find(begin, end, token) != end;
  };
  const std::vector<int32_t>& forbidden = options_.search.forbidden_tokens;
  return is_among(forbidden.begin(), forbidden.end()) ||
         is_among(excluded_.begin() + row.excluded_begin, excluded_.begin() + row.excluded_end);
}

std::vector<std::vector<Found>> SearchBatch::Results() const {
  std::vector<std::vector<Found>> results(sentences_.size());
  for (size_t i = 0; i < searches_.size(); ++i) {
    std::vector<Found>& of_sentence = results[i / options_.SearchesOfSentence()];
    for (Found& found : searches_[i].Results()) of_sentence.push_back(std::move(found));
  }
  return results;
}

}  // namespace tf_ls
