#ifndef TF_LS_CC_OPS_GENERATION_INPUTS_H_
#define TF_LS_CC_OPS_GENERATION_INPUTS_H_

#include <cstdint>
#include <vector>

#include "cc/decoding/generation_options.h"
#include "cc/ops/checks.h"

// What LSGenerate reads on the host: options, where sentences begin, how long their sources are.
namespace tf_ls {

class GenerationInputs {
 public:
  // `memory` is null for a decoder without one. Everything is checked against its range, tokens
  // against the vocabulary.
  Status Read(tensorflow::OpKernelContext* context, const tensorflow::Tensor* memory,
              int64_t vocab_size);

  const GenerationOptions& options() const { return options_; }
  const std::vector<SentenceStart>& sentences() const { return sentences_; }
  // [B], of the source; empty without a memory.
  const std::vector<int32_t>& source_lengths() const { return source_lengths_; }
  int64_t num_hypotheses() const { return num_hypotheses_; }
  // The most tokens that a hypothesis can have.
  int64_t max_length() const { return max_length_; }

 private:
  Status ReadOptions(tensorflow::OpKernelContext* context, bool has_memory, int64_t vocab_size);
  Status ReadSearch(tensorflow::OpKernelContext* context);
  Status ReadForbidden(tensorflow::OpKernelContext* context, int64_t vocab_size);
  Status ReadSourceLengths(tensorflow::OpKernelContext* context, const tensorflow::Tensor* memory,
                           int64_t batch);
  Status ReadSentences(tensorflow::OpKernelContext* context, int64_t vocab_size);
  Status ReadPrefix(int64_t sentence, const tensorflow::Tensor& prefix, int64_t length,
                    int64_t vocab_size);
  Status CheckSize() const;

  GenerationOptions options_;
  int64_t num_hypotheses_ = 0;
  int64_t max_length_ = 0;
  std::vector<SentenceStart> sentences_;
  std::vector<int32_t> source_lengths_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_GENERATION_INPUTS_H_
