#ifndef TF_LS_CC_DECODING_GENERATION_LOOP_H_
#define TF_LS_CC_DECODING_GENERATION_LOOP_H_

#include <cstdint>
#include <exception>
#include <functional>
#include <vector>

#include "cc/decoding/generation_model.h"
#include "cc/decoding/generation_options.h"
#include "cc/decoding/prefill.h"
#include "cc/decoding/prompt_rows.h"
#include "cc/decoding/search_batch.h"
#include "cc/decoding/step_exchange.h"
#include "cc/decoding/step_launcher.h"
#include "cc/kernels/host_copy.h"

namespace tf_ls {

// Thrown where somebody wants no result any more.
class Cancelled : public std::exception {
 public:
  const char* what() const noexcept override { return "the generation was cancelled"; }
};

// Is told what steps bring, in the thread of the loop, which waits for it.
using TokenListener = std::function<void(const std::vector<NewToken>&)>;

// Memory that lasts as long as a generation.
struct GenerationArenas {
  Arena* device;
  Arena* host;  // if there is a GPU, such memory as it copies from and to while the host goes on
};

// Generates from every sentence; returns hypotheses of each. What sentences begin with, which for a
// decoder without a memory is the prompt, is read at once; then come steps, of a token each.
//
// A step is one copy to the device, its work, and one copy back. Throws Cancelled as soon as
// `cancelled`, which is asked once a step and once a piece of prompts, says so;
// std::invalid_argument if the model gives numbers that are none. `listener`, if there is one, is
// told what each step brings, if tokens are final (SearchOptions), and before the steps which
// hypotheses end with their prompts; tokens of prompts are not told.
template <typename Device, typename T>
std::vector<std::vector<Found>> Generate(const Device& device, const GenerationModel& model,
                                         const GenerationMemory<T>& memory,
                                         const std::vector<SentenceStart>& sentences,
                                         const GenerationOptions& options,
                                         const GenerationArenas& arenas,
                                         const std::function<bool()>& cancelled,
                                         const TokenListener& listener = nullptr) {
  SearchBatch searches(options, sentences);
  if (searches.done()) return searches.Results();
  StepLauncher<Device, T> step(device, model, memory, options, searches, arenas.device);
  const bool attends = options.search.return_attention || options.search.coverage_penalty > 0.0;
  const int64_t attention_length = attends ? memory.length : 0;

  const auto prompts = PiecesOfPrompts(options, sentences, kMostPromptRows<Device>);
  for (const PromptRows& rows : prompts) {
    if (cancelled()) throw Cancelled();
    searches.TakePrompts(rows, Prefill(device, step.decoder(), options, rows, attention_length));
  }
  if (listener && !prompts.empty()) listener(searches.NewTokens());

  const StepLimits limits = searches.limits();
  BufferCutter measure(nullptr);
  StepInputs::Cut(limits, &measure);
  const auto cut_inputs = [&](Arena* arena) {
    BufferCutter cutter(arena->Allocate<unsigned char>(measure.used()));
    return StepInputs::Cut(limits, &cutter);
  };
  const StepInputs inputs = cut_inputs(arenas.host), device_inputs = cut_inputs(arenas.device);

  StepWork most;
  most.rows = limits.rows;
  most.k = searches.most_candidates();
  BufferCutter measure_outputs(nullptr);
  StepOutputs::Cut(most, attention_length, &measure_outputs);
  const auto new_outputs = [&](Arena* arena) {
    return arena->Allocate<unsigned char>(measure_outputs.used());
  };
  unsigned char* const host_block = new_outputs(arenas.host);
  unsigned char* const device_block = new_outputs(arenas.device);

  while (!searches.done()) {
    if (cancelled()) throw Cancelled();
    const StepWork work = searches.Prepare(inputs);
    CopyToDevice(device, inputs.tokens, inputs.UsedBytes(work), device_inputs.tokens);
    BufferCutter host_cutter(host_block), device_cutter(device_block);
    const StepOutputs outputs = StepOutputs::Cut(work, attention_length, &host_cutter);
    const StepOutputs device_outputs = StepOutputs::Cut(work, attention_length, &device_cutter);
    FillBytes(device, device_outputs.bad_row, 0xff, sizeof(int64_t));  // -1
    step.Run(work, device_inputs, device_outputs);
    CopyToHost(device, device_block, host_cutter.used(), host_block);
    searches.Advance(outputs, attention_length);
    if (listener) listener(searches.NewTokens());
  }
  return searches.Results();
}

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_GENERATION_LOOP_H_
