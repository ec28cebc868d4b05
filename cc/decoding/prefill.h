#ifndef TF_LS_CC_DECODING_PREFILL_H_
#define TF_LS_CC_DECODING_PREFILL_H_

#include <cstdint>
#include <type_traits>
#include <vector>

#include "cc/decoding/cached_decoder.h"
#include "cc/decoding/generation_options.h"
#include "cc/decoding/logit_pieces.h"
#include "cc/decoding/prompt_rows.h"
#include "cc/kernels/host_copy.h"
#include "cc/kernels/listed_logits.h"
#include "cc/kernels/top_k.h"

namespace tf_ls {

// Rows of prompts that are read at once: more would make products no faster, but take more memory,
// and a generation would take longer to see that it is cancelled.
template <typename Device>
constexpr int64_t kMostPromptRows = std::is_same<Device, Cpu>::value ? 512 : 4096;

// Reads prompts in one pass over all of their rows: their keys and values go into the decoder's
// caches, where the steps behind them find them. Returns what a search wants to know of tokens that
// it has not chosen; attention_length: how much attention of each row, 0 if nobody wants it.
//
// Cost: what as many steps of one row would multiply, 2 flops a row for each number of the model's
// matrices and of the output layer, and 2 * H a layer for each pair of a token and one before it.
// Weights are read once, not once a position, and logits are made for a piece of the vocabulary at
// a time. Scratch memory of a row: 6 * H + F numbers, and its share of the logits' piece.
template <typename Device, typename T>
PromptScores Prefill(const Device& device, const CachedDecoder<Device, T>& decoder,
                     const GenerationOptions& options, const PromptRows& rows,
                     int64_t attention_length) {
  const ArenaScope scope(device.arena);
  const auto allocate = [&](auto example, int64_t count) {
    return device.arena->template Allocate<decltype(example)>(count);
  };
  const auto bring = [&](const std::vector<int32_t>& numbers) {
    int32_t* const copy = allocate(int32_t(), static_cast<int64_t>(numbers.size()));
    CopyToDevice(device, numbers.data(), numbers.size() * sizeof(int32_t), copy);
    return static_cast<const int32_t*>(copy);
  };
  const int64_t count = rows.filled_up();
  const int32_t* const positions = bring(rows.positions);
  const Sentences sentences = {bring(rows.offsets), bring(rows.lengths),
                               static_cast<int64_t>(rows.lengths.size()), count};
  const Beginnings beginnings = {sentences, {rows.count(), bring(rows.slots), positions}};
  float* const attention =
      attention_length > 0 ? allocate(float(), count * attention_length) : nullptr;
  T* const x = allocate(T(), count * decoder.hidden_size());
  const T* const hidden = decoder.Read({count, bring(rows.tokens), positions}, beginnings,
                                       bring(rows.sentence_of), x, attention);

  const int32_t* const next_tokens = bring(rows.next_tokens);
  const TokenLists penalized = {bring(rows.penalized_begin), bring(rows.penalized_end),
                                bring(rows.listed)};
  float* const next_logits = allocate(float(), count);
  // The best words are nobody's concern, but log-sums come with them. What is bad about a row,
  // these tell, too.
  const TopWords words = {1, allocate(float(), count), allocate(int32_t(), count),
                          allocate(double(), count), allocate(int64_t(), 1)};
  FillBytes(device, words.bad_row, 0xff, sizeof(int64_t));  // -1
  const int64_t piece_size = VocabularyPiece<Device>(count, decoder.output().vocab_size);
  float* const logits = allocate(float(), count * LogitStride(device, piece_size));
  ForEachLogitPiece(device, decoder.output(), hidden, count, piece_size, logits,
                    [&](const LogitPiece& piece) {
                      if (options.repetition_penalty != 1.0f) {
                        PenalizeRepetition(device, piece, penalized, options.repetition_penalty);
                      }
                      GatherLogits(device, piece, next_tokens, next_logits);
                      TopK(device, piece.ToRead(), words);
                    });

  PromptScores scores;
  scores.attention_length = attention_length;
  const auto fetch = [&](const auto* from, int64_t numbers, auto* to) {
    to->resize(numbers);
    CopyToHost(device, from, numbers * sizeof(*from), to->data());
  };
  fetch(next_logits, rows.count(), &scores.next_logits);
  fetch(words.log_sums, rows.count(), &scores.log_sums);
  fetch(attention, rows.count() * attention_length, &scores.attention);
  return scores;
}

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_PREFILL_H_
