#ifndef TF_LS_CC_DECODING_GENERATION_STEP_H_
#define TF_LS_CC_DECODING_GENERATION_STEP_H_

#include <cstdint>

#include "cc/decoding/cached_decoder.h"
#include "cc/decoding/generation_model.h"
#include "cc/decoding/generation_options.h"
#include "cc/decoding/logit_pieces.h"
#include "cc/decoding/search_batch.h"
#include "cc/decoding/step_exchange.h"
#include "cc/kernels/host_copy.h"
#include "cc/kernels/listed_logits.h"
#include "cc/kernels/logits.h"
#include "cc/kernels/sample_tokens.h"
#include "cc/kernels/top_k.h"

namespace tf_ls {

// The device's half of the generation loop: the model's caches, and one step of it.
template <typename Device, typename T>
class GenerationStep {
 public:
  // What lasts as long as this does comes from `lasting`, of the device's memory. The model and
  // the options must outlive it.
  GenerationStep(const Device& device, const GenerationModel& model,
                 const GenerationMemory<T>& memory, const GenerationOptions& options,
                 const SearchBatch& searches, Arena* lasting)
      : device_(device),
        options_(options),
        max_length_(searches.max_length()),
        vocab_size_(model.output.vocab_size),
        piece_(options.samples > 0 ? vocab_size_
                                   : VocabularyPiece<Device>(searches.limits().rows, vocab_size_)),
        decoder_(device, model, memory, searches.slots(), max_length_, lasting) {
    const int64_t rows = searches.limits().rows;
    x_ = lasting->Allocate<T>(rows * model.hidden_size());
    logits_ = lasting->Allocate<float>(rows * LogitStride(device, piece_));
    for (Paths& paths : paths_) {
      paths.slots = lasting->Allocate<int32_t>(rows * max_length_);
      paths.lengths = lasting->Allocate<int32_t>(rows);
    }
    const FirstPaths first = searches.PathsOfPrompts();
    CopyToDevice(device, first.slots.data(), first.slots.size() * sizeof(int32_t), paths_[0].slots);
    CopyToDevice(device, first.lengths.data(), first.lengths.size() * sizeof(int32_t),
                 paths_[0].lengths);
  }
  GenerationStep(const GenerationStep&) = delete;
  GenerationStep& operator=(const GenerationStep&) = delete;

  // `turn` is 1 and 0 in turns, from the first step on. All pointers are to the device's memory,
  // and nothing is decided by what they point to: a step with the same work and turn launches the
  // same.
  void Run(const StepWork& work, int turn, const StepInputs& inputs,
           const StepOutputs& outputs) const {
    const ArenaScope scope(device_.arena);
    const Paths &old = paths_[1 - turn], &now = paths_[turn];
    const BeamPaths paths = {now.slots, now.lengths, max_length_};
    ExtendPaths(device_, {old.slots, old.lengths, max_length_}, inputs.parents, inputs.slots,
                work.rows, now.slots, now.lengths);
    const T* const hidden = decoder_.Read({work.rows, inputs.tokens, inputs.positions}, paths,
                                          inputs.sentence_of, x_, outputs.attention);
    if (options_.samples > 0) {
      DrawTokens(work, inputs, hidden, outputs);
    } else {
      FindCandidates(work, inputs, hidden, outputs);
    }
  }

  const CachedDecoder<Device, T>& decoder() const { return decoder_; }

 private:
  struct Paths {
    int32_t* slots;    // [rows, max_length]
    int32_t* lengths;  // [rows]
  };

  void Penalize(const StepInputs& inputs, const LogitPiece& piece) const {
    if (options_.repetition_penalty == 1.0f) return;
    PenalizeRepetition(device_, piece,
                       {inputs.penalized_begin, inputs.penalized_end, inputs.listed},
                       options_.repetition_penalty);
  }

  // Where excluded tokens are taken out of the logits, these are looked at twice: what all words'
  // log-sum is, and which of those that are left are the best.
  void FindCandidates(const StepWork& work, const StepInputs& inputs, const T* x,
                      const StepOutputs& outputs) const {
    const auto allocate = [&](auto example, int64_t count) {
      return device_.arena->template Allocate<decltype(example)>(count);
    };
    TopWords best = {work.k, outputs.logits, outputs.ids, outputs.log_sums, outputs.bad_row};
    TopWords all = {};
    if (work.has_excluded) {
      all = {1, allocate(float(), work.rows), allocate(int32_t(), work.rows), outputs.log_sums,
             outputs.bad_row};
      // Nothing may be left, which is not the model's fault.
      best.log_sums = allocate(double(), work.rows);
      best.bad_row = allocate(int64_t(), 1);
      FillBytes(device_, best.bad_row, 0xff, sizeof(int64_t));
    }
    const auto find = [&](const LogitPiece& piece) {
      Penalize(inputs, piece);
      if (work.has_excluded) {
        TopK(device_, piece.ToRead(), all);
        ExcludeTokens(device_, piece, {inputs.excluded_begin, inputs.excluded_end, inputs.listed});
      }
      TopK(device_, piece.ToRead(), best);
    };
    ForEachLogitPiece(device_, decoder_.output(), x, work.rows, piece_, logits_, find);
  }

  void DrawTokens(const StepWork& work, const StepInputs& inputs, const T* x,
                  const StepOutputs& outputs) const {
    const LogitPiece all = {logits_, vocab_size_, work.rows, 0, vocab_size_, vocab_size_};
    Logits(device_, x, decoder_.output(), all);
    Penalize(inputs, all);
    ExcludedTokens excluded;
    if (work.has_excluded) {
      excluded = {inputs.excluded_begin, inputs.excluded_end, inputs.listed, work.most_excluded};
    }
    SampleTokens(device_, options_.sampling,
                 {work.rows, vocab_size_, logits_, inputs.counters, excluded},
                 {outputs.ids, outputs.logits, outputs.bad_row});
  }

  const Device& device_;
  const GenerationOptions& options_;
  const int64_t max_length_;
  const int64_t vocab_size_;
  const int64_t piece_;  // words whose logits are there at once
  const CachedDecoder<Device, T> decoder_;
  Paths paths_[2];  // which take turns
  T* x_;            // [rows, H]
  float* logits_;   // [rows, piece_]
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_GENERATION_STEP_H_
