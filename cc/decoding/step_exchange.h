#ifndef TF_LS_CC_DECODING_STEP_EXCHANGE_H_
#define TF_LS_CC_DECODING_STEP_EXCHANGE_H_

#include <cstdint>

#include "cc/core/arena.h"
#include "cc/kernels/gumbel_noise.h"

// What host and device tell each other in a step of the generation loop: one block of memory each
// way, which lies in the host's memory and in the device's in the same order.
namespace tf_ls {

// What a step is to do, beside the numbers in StepInputs.
struct StepWork {
  int64_t rows = 0;           // rows that are computed, with those that fill up
  int64_t k = 0;              // how many candidates of each
  bool has_excluded = false;  // tokens that may not come are taken out before candidates are found
  int64_t most_excluded = 0;  // of a row
  int64_t listed = 0;         // tokens in all lists
};

// How large steps may become.
struct StepLimits {
  int64_t rows;
  int64_t listed;
};

// Products, and graphs of a whole step, that were made for one number of rows fit the next: there
// are eight numbers between a power of two and the next.
inline int64_t RowUnit(int64_t rows) {
  int64_t unit = 1;
  while (unit * 16 <= rows) unit *= 2;
  return unit;
}
inline int64_t FilledUp(int64_t rows) {
  const int64_t unit = RowUnit(rows);
  return (rows + unit - 1) / unit * unit;
}

// All [rows] but the last.
struct StepInputs {
  int32_t* tokens;  // that come in, the last of each row
  int32_t* positions;
  int32_t* parents;  // which row of the step before a row continues
  int32_t* slots;    // of the caches, where its new position goes
  int32_t* sentence_of;
  int32_t* penalized_begin;  // the tokens of a row that are penalized, in `listed`
  int32_t* penalized_end;
  int32_t* excluded_begin;  // those that may not come
  int32_t* excluded_end;
  SampleCounter* counters;
  int32_t* listed;

  static StepInputs Cut(const StepLimits& limits, BufferCutter* block) {
    StepInputs inputs;
    for (int32_t** numbers : {&inputs.tokens, &inputs.positions, &inputs.parents, &inputs.slots,
                              &inputs.sentence_of, &inputs.penalized_begin, &inputs.penalized_end,
                              &inputs.excluded_begin, &inputs.excluded_end}) {
      *numbers = block->Cut<int32_t>(limits.rows);
    }
    inputs.counters = block->Cut<SampleCounter>(limits.rows);
    inputs.listed = block->Cut<int32_t>(limits.listed);
    return inputs;
  }

  // How many bytes of the block, which begins with `tokens`, are used.
  size_t UsedBytes(const StepWork& work) const {
    return reinterpret_cast<const char*>(listed + work.listed) -
           reinterpret_cast<const char*>(tokens);
  }
};

struct StepOutputs {
  int64_t* bad_row;  // as TopK's
  double* log_sums;  // [rows]
  float* logits;     // [rows, k], the best first; of drawn tokens log-probabilities
  int32_t* ids;      // [rows, k]; -1 where there are no more
  float* attention;  // [rows, memory_length]; null: nobody wants it

  // `attention_length`: 0 if nobody wants it.
  static StepOutputs Cut(const StepWork& work, int64_t attention_length, BufferCutter* block) {
    StepOutputs outputs;
    outputs.bad_row = block->Cut<int64_t>(1);
    outputs.log_sums = block->Cut<double>(work.rows);
    outputs.logits = block->Cut<float>(work.rows * work.k);
    outputs.ids = block->Cut<int32_t>(work.rows * work.k);
    outputs.attention =
        attention_length > 0 ? block->Cut<float>(work.rows * attention_length) : nullptr;
    return outputs;
  }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_STEP_EXCHANGE_H_
