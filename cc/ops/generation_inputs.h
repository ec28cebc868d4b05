#ifndef TF_LS_CC_OPS_GENERATION_INPUTS_H_
#define TF_LS_CC_OPS_GENERATION_INPUTS_H_

#include <cstdint>
#include <vector>

#include "cc/decoding/generation_options.h"
#include "cc/ops/checks.h"

// What operations that generate read on the host: options, where sentences begin, how long their
// sources are. (max_extra_length -1: none.) All of it stands in front of other inputs: TensorFlow
// counts an empty list as one input where it looks for an int32 in host memory.
#define TF_LS_SEARCH_INPUTS                  \
  .Input("source_lengths: int64")            \
      .Input("start: int64")                 \
      .Input("prefix: int64")                \
      .Input("prefix_lengths: int64")        \
      .Input("forbidden_tokens: int64")      \
      .Input("eos: int64")                   \
      .Input("method: string")               \
      .Input("beam_size: int64")             \
      .Input("num_hypotheses: int64")        \
      .Input("length_penalty: string")       \
      .Input("length_penalty_alpha: double") \
      .Input("coverage_penalty: double")     \
      .Input("diversity: double")            \
      .Input("early_stopping: bool")         \
      .Input("patience: double")             \
      .Input("repetition_penalty: double")   \
      .Input("no_repeat_ngram_size: int64")  \
      .Input("min_length: int64")            \
      .Input("max_length: int64")            \
      .Input("max_extra_length: int64")      \
      .Input("temperature: double")          \
      .Input("top_k: int64")                 \
      .Input("top_p: double")                \
      .Input("seed: int64")                  \
      .Input("return_attention: bool")
#define TF_LS_SEARCH_HOST_MEMORY          \
  .HostMemory("source_lengths")           \
      .HostMemory("start")                \
      .HostMemory("prefix")               \
      .HostMemory("prefix_lengths")       \
      .HostMemory("forbidden_tokens")     \
      .HostMemory("eos")                  \
      .HostMemory("method")               \
      .HostMemory("beam_size")            \
      .HostMemory("num_hypotheses")       \
      .HostMemory("length_penalty")       \
      .HostMemory("length_penalty_alpha") \
      .HostMemory("coverage_penalty")     \
      .HostMemory("diversity")            \
      .HostMemory("early_stopping")       \
      .HostMemory("patience")             \
      .HostMemory("repetition_penalty")   \
      .HostMemory("no_repeat_ngram_size") \
      .HostMemory("min_length")           \
      .HostMemory("max_length")           \
      .HostMemory("max_extra_length")     \
      .HostMemory("temperature")          \
      .HostMemory("top_k")                \
      .HostMemory("top_p")                \
      .HostMemory("seed")                 \
      .HostMemory("return_attention")

namespace tf_ls {

constexpr int kSearchInputs = 25, kNumHypotheses = 8;  // how many; where that one is

// The shape function's part. Returns the number of sentences.
Status CheckSearchShapes(tensorflow::shape_inference::InferenceContext* context, bool has_memory,
                         tensorflow::shape_inference::DimensionHandle* batch);

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
  Status ReadSentences(tensorflow::OpKernelContext* context, const tensorflow::Tensor* memory,
                       int64_t vocab_size);
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
