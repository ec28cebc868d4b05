#include "cc/decoding/prompt_rows.h"

#include <algorithm>
#include <set>

#include "cc/decoding/step_exchange.h"

namespace tf_ls {
namespace {

// Puts the rows of one sentence's prompt behind the others.
void Append(const GenerationOptions& options, const SentenceStart& start, int32_t sentence,
            PromptRows* rows) {
  const int length = PromptLength(options.search, start);
  const int32_t slot = PromptSlot(options, sentence);
  const auto begin = static_cast<int32_t>(rows->listed.size());
  std::set<int32_t> were_there;
  for (int32_t position = 0; position < length; ++position) {
    const int32_t token = position == 0 ? start.token : start.prefix[position - 1];
    // In the order in which they come, so that what a row lists is where the next one's begins.
    if (position > 0 && were_there.insert(token).second) rows->listed.push_back(token);
    rows->tokens.push_back(token);
    rows->positions.push_back(position);
    rows->slots.push_back(slot);
    rows->sentence_of.push_back(sentence);
    rows->next_tokens.push_back(start.prefix[position]);
    rows->penalized_begin.push_back(begin);
    rows->penalized_end.push_back(static_cast<int32_t>(rows->listed.size()));
  }
  rows->sentences.push_back(sentence);
  rows->lengths.push_back(length);
  rows->offsets.push_back(rows->offsets.back() + length);
}

// Products that were made for one number of rows fit the next piece.
void FillUp(PromptRows* rows) {
  const int64_t count = FilledUp(rows->count());
  rows->tokens.resize(count, -1);
  rows->positions.resize(count, 0);
  rows->slots.resize(count, rows->slots[0]);
  rows->sentence_of.resize(count, rows->sentence_of[0]);
  rows->next_tokens.resize(count, -1);
  rows->penalized_begin.resize(count, 0);
  rows->penalized_end.resize(count, 0);
}

}  // namespace

int PromptLength(const SearchOptions& options, const SentenceStart& sentence) {
  const int limit = options.LengthLimit(sentence.source_length);
  const auto end = sentence.prefix.begin() +
                   std::min<int64_t>(limit, static_cast<int64_t>(sentence.prefix.size()));
  const auto eos = std::find(sentence.prefix.begin(), end, options.eos);
  return static_cast<int>((eos == end ? end : eos + 1) - sentence.prefix.begin());
}

int32_t PromptSlot(const GenerationOptions& options, int64_t sentence) {
  return static_cast<int32_t>(sentence * options.SearchesOfSentence() * options.search.beam_size);
}

std::vector<PromptRows> PiecesOfPrompts(const GenerationOptions& options,
                                        const std::vector<SentenceStart>& sentences,
                                        int64_t most_rows) {
  std::vector<PromptRows> pieces;
  for (size_t i = 0; i < sentences.size(); ++i) {
    const int length = PromptLength(options.search, sentences[i]);
    if (length == 0) continue;
    if (pieces.empty() || pieces.back().count() + length > most_rows) {
      pieces.emplace_back();
      pieces.back().offsets = {0};
    }
    Append(options, sentences[i], static_cast<int32_t>(i), &pieces.back());
  }
  for (PromptRows& rows : pieces) FillUp(&rows);
  return pieces;
}

}  // namespace tf_ls
