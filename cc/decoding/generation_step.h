#ifndef TF_LS_CC_DECODING_GENERATION_STEP_H_
#define TF_LS_CC_DECODING_GENERATION_STEP_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cc/decoding/generation_layer.h"
#include "cc/decoding/generation_model.h"
#include "cc/decoding/generation_options.h"
#include "cc/decoding/search_batch.h"
#include "cc/decoding/step_exchange.h"
#include "cc/kernels/host_copy.h"
#include "cc/kernels/layer_norm.h"
#include "cc/kernels/listed_logits.h"
#include "cc/kernels/logits.h"
#include "cc/kernels/sample_tokens.h"
#include "cc/kernels/top_k.h"
#include "cc/layers/embed_tokens.h"

namespace tf_ls {

// How many words' logits are there at once, if they are of so many rows: on the CPU what stays in
// the second-level caches between the product and who reads it, on the GPU what fits into memory.
template <typename Device>
int64_t VocabularyPiece(int64_t rows, int64_t vocab_size) {
  constexpr int64_t kBytes = std::is_same<Device, Cpu>::value ? 4 << 20 : 256 << 20;
  constexpr int64_t kMultiple = 256;
  const int64_t fitting = kBytes / (rows * static_cast<int64_t>(sizeof(float)));
  return std::min(vocab_size, std::max<int64_t>(1, fitting / kMultiple) * kMultiple);
}

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
        model_(model),
        memory_length_(memory.length),
        max_length_(searches.max_length()),
        options_(options),
        piece_(options.samples > 0
                   ? model.output.vocab_size
                   : VocabularyPiece<Device>(searches.limits().rows, model.output.vocab_size)) {
    const int64_t rows = searches.limits().rows, n = model.hidden_size();
    x_ = lasting->Allocate<T>(rows * n);
    logits_ = lasting->Allocate<float>(rows * LogitStride(device, piece_));
    for (Paths& paths : paths_) {
      paths.slots = lasting->Allocate<int32_t>(rows * max_length_);
      paths.lengths = lasting->Allocate<int32_t>(rows);
    }
    FillBytes(device, paths_[0].lengths, 0, rows * sizeof(int32_t));
    const int64_t cached = searches.slots() * max_length_ * n;
    for (const GenerationModel::Layer& layer : model.layers) {
      layers_.emplace_back(device, layer.options, layer.weights);
      caches_.push_back({lasting->Allocate<T>(cached), lasting->Allocate<T>(cached)});
    }
    if (!model.HasMemory()) return;
    memory_lengths_ = Bring(memory.lengths, memory.sentences, lasting);
    const int64_t memory_rows = memory.sentences * memory.length;
    for (const auto& layer : layers_) {
      T* const projected = lasting->Allocate<T>(memory_rows * 2 * n);
      layer.ProjectMemory(memory.rows, memory_rows, projected);
      projected_.push_back(projected);
    }
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
    EmbedTokens<Device, T>(device_, model_, {work.rows, inputs.tokens, inputs.positions}, x_);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const bool is_last = i + 1 == layers_.size();
      RunLayer(i, work.rows, paths, inputs, is_last ? outputs.attention : nullptr);
    }
    const T* const hidden = Normalized(work.rows);
    if (options_.samples > 0) {
      DrawTokens(work, inputs, hidden, outputs);
    } else {
      FindCandidates(work, inputs, hidden, outputs);
    }
  }

 private:
  using Layer = GenerationLayer<Device, T>;

  struct Paths {
    int32_t* slots;    // [rows, max_length]
    int32_t* lengths;  // [rows]
  };

  // Numbers of the host in the device's memory.
  const int32_t* Bring(const int32_t* numbers, int64_t count, Arena* lasting) const {
    int32_t* const copy = lasting->Allocate<int32_t>(count);
    CopyToDevice(device_, numbers, count * sizeof(int32_t), copy);
    return copy;
  }

  // `attention` may be null.
  void RunLayer(size_t i, int64_t rows, const BeamPaths& paths, const StepInputs& inputs,
                float* attention) const {
    const LayerOptions& options = model_.layers[i].options;
    const int64_t n = options.hidden_size, heads = options.num_heads, size = options.head_size();
    const auto grows = [&](T* data) { return GrowingSlots(data, heads, max_length_, size); };
    typename Layer::MemoryCache memory = {};
    if (model_.HasMemory()) {
      const T* const projected = projected_[i];
      memory = {MemorySlots(projected, memory_length_, 2 * n, size),
                MemorySlots(projected + n, memory_length_, 2 * n, size)};
    }
    layers_[i].Forward(rows, paths, {grows(caches_[i].keys), grows(caches_[i].values)},
                       {inputs.sentence_of, memory_lengths_}, memory, x_,
                       {attention, memory_length_});
  }

  const T* Normalized(int64_t rows) const {
    if (model_.norm.gamma == nullptr) return x_;
    const int64_t n = model_.hidden_size();
    T* const normalized = device_.arena->template Allocate<T>(rows * n);
    Normalize<Device, T>(device_, model_.norm, model_.epsilon, x_, rows, n, normalized);
    return normalized;
  }

  // `first` to `first` + count of the logits of hidden states x, as the search wants them.
  LogitPiece MakeLogits(const StepWork& work, const StepInputs& inputs, const T* x, int64_t first,
                        int64_t count, int64_t stride, const StepOutputs& outputs) const {
    const LogitPiece piece = {logits_, stride, work.rows, first, count, model_.output.vocab_size};
    Logits(device_, x, model_.output, piece);
    if (work.has_penalized) {
      PenalizeRepetition(device_, piece,
                         {inputs.penalized_begin, inputs.penalized_end, inputs.listed},
                         options_.repetition_penalty);
    }
    if (work.has_forced) GatherLogits(device_, piece, inputs.forced, outputs.forced_logits);
    return piece;
  }

  // Where TopK puts the log-sums of rows alone.
  TopWords LogSumsOnly(int64_t rows, double* log_sums, int64_t* bad_row) const {
    return {1, device_.arena->template Allocate<float>(rows),
            device_.arena->template Allocate<int32_t>(rows), log_sums, bad_row};
  }

  // Where excluded tokens are taken out of the logits, these are looked at twice: what all words'
  // log-sum is, and which of those that are left are the best.
  void FindCandidates(const StepWork& work, const StepInputs& inputs, const T* x,
                      const StepOutputs& outputs) const {
    const int64_t vocab_size = model_.output.vocab_size;
    TopWords best = {work.k, outputs.logits, outputs.ids, outputs.log_sums, outputs.bad_row};
    TopWords all = {};
    if (work.has_excluded) {
      all = LogSumsOnly(work.rows, outputs.log_sums, outputs.bad_row);
      // Nothing may be left, which is not the model's fault.
      best.log_sums = device_.arena->template Allocate<double>(work.rows);
      best.bad_row = device_.arena->template Allocate<int64_t>(1);
      FillBytes(device_, best.bad_row, 0xff, sizeof(int64_t));
    }
    for (int64_t first = 0; first < vocab_size; first += piece_) {
      const int64_t count = std::min(piece_, vocab_size - first);
      const LogitPiece piece =
          MakeLogits(work, inputs, x, first, count, LogitStride(device_, count), outputs);
      if (work.has_excluded) {
        TopK(device_, piece.ToRead(), all);
        ExcludeTokens(device_, piece, {inputs.excluded_begin, inputs.excluded_end, inputs.listed});
      }
      TopK(device_, piece.ToRead(), best);
    }
  }

  void DrawTokens(const StepWork& work, const StepInputs& inputs, const T* x,
                  const StepOutputs& outputs) const {
    const int64_t vocab_size = model_.output.vocab_size;
    const LogitPiece all = MakeLogits(work, inputs, x, 0, vocab_size, vocab_size, outputs);
    if (work.has_forced) {
      TopK(device_, all.ToRead(), LogSumsOnly(work.rows, outputs.log_sums, outputs.bad_row));
    }
    ExcludedTokens excluded;
    if (work.has_excluded) {
      excluded = {inputs.excluded_begin, inputs.excluded_end, inputs.listed, work.most_excluded};
    }
    SampleTokens(device_, options_.sampling,
                 {work.rows, vocab_size, logits_, inputs.counters, excluded},
                 {outputs.ids, outputs.logits, outputs.bad_row});
  }

  const Device& device_;
  const GenerationModel& model_;
  const int64_t memory_length_;
  const int64_t max_length_;
  const GenerationOptions& options_;
  const int64_t piece_;  // words whose logits are there at once
  std::vector<Layer> layers_;
  std::vector<KeyValueCache<T*>> caches_;
  std::vector<const T*> projected_;  // for each layer, keys and values of the memory
  const int32_t* memory_lengths_ = nullptr;
  Paths paths_[2];  // which take turns
  T* x_;            // [rows, H]
  float* logits_;   // [rows, piece_]
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_GENERATION_STEP_H_
