#ifndef TF_LS_CC_DECODING_GENERATION_OPTIONS_H_
#define TF_LS_CC_DECODING_GENERATION_OPTIONS_H_

#include <cstdint>
#include <vector>

#include "cc/decoding/search_options.h"
#include "cc/kernels/sample_tokens.h"

namespace tf_ls {

// What is generated of each sentence. Every option means what it means in
// tf_ls/ops/search_options.py.
struct GenerationOptions {
  SearchOptions search;
  float repetition_penalty = 1.0f;

  // So many independent samples of each sentence instead of a search; `search` is then that of one
  // sample, a beam of one. 0: a search.
  int samples = 0;
  SamplingOptions sampling;

  int SearchesOfSentence() const { return samples > 0 ? samples : 1; }
};

// What a sentence begins with.
struct SentenceStart {
  int32_t token;  // which is no part of the hypotheses
  std::vector<int32_t> prefix;
  int source_length;  // without a source: of the prefix, or negative
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_GENERATION_OPTIONS_H_
