#include "cc/ops/generation_inputs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

namespace tf_ls {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

template <typename T>
Status ReadScalar(OpKernelContext* context, const char* name, T* value) {
  const Tensor* tensor;
  TF_LS_RETURN_IF_ERROR(context->input(name, &tensor));
  TF_LS_RETURN_IF_ERROR(CheckShape(*tensor, {}, name));
  *value = tensor->scalar<T>()();
  return Status();
}

// An integer from `low` to `high`. What is larger than an int holds says no more than the largest.
Status ReadInteger(OpKernelContext* context, const char* name, int64_t low, int64_t high,
                   int* value) {
  int64_t wide = 0;
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, name, &wide));
  if (wide < low || wide > high) {
    if (high == kNoLimit) return InvalidArgument(name, " must be at least ", low, ", got ", wide);
    return InvalidArgument(name, " must be from ", low, " to ", high, ", got ", wide);
  }
  *value = static_cast<int>(std::min(wide, kMost));
  return Status();
}

// A number that `holds` is true of.
template <typename Holds>
Status ReadNumber(OpKernelContext* context, const char* name, const Holds& holds,
                  const char* expected, double* value) {
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, name, value));
  if (std::isfinite(*value) && holds(*value)) return Status();
  return InvalidArgument(name, " must be ", expected, ", got ", *value);
}

// The same as float32, where it must hold, too.
template <typename Holds>
Status ReadNumber(OpKernelContext* context, const char* name, const Holds& holds,
                  const char* expected, float* value) {
  double wide = 0.0;
  const auto fits = [&](double x) {
    *value = static_cast<float>(x);
    return std::isfinite(*value) && holds(*value);
  };
  return ReadNumber(context, name, fits, expected, &wide);
}

bool IsPositive(double x) { return x > 0.0; }
bool IsNotNegative(double x) { return x >= 0.0; }

Status CheckToken(int64_t token, int64_t vocab_size, const std::string& what) {
  if (token >= 0 && token < vocab_size) return Status();
  return InvalidArgument(what, " must be from 0 to ", vocab_size - 1, " in a vocabulary of ",
                         vocab_size, ", got ", token);
}

Status ReadLengthPenalty(OpKernelContext* context, LengthPenalty* penalty) {
  tensorflow::tstring name;
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, "length_penalty", &name));
  if (name == "neurst") {
    *penalty = LengthPenalty::kNeurst;
  } else if (name == "lightseq") {
    *penalty = LengthPenalty::kLightseq;
  } else if (name == "exponent") {
    *penalty = LengthPenalty::kExponent;
  } else if (name == "none") {
    *penalty = LengthPenalty::kNone;
  } else {
    return InvalidArgument("length_penalty must be neurst, lightseq, exponent or none, got ",
                           std::string(name));
  }
  return Status();
}

}  // namespace

Status CheckSearchShapes(InferenceContext* c, bool has_memory, DimensionHandle* batch) {
  constexpr int kSourceLengths = 0, kStart = 1, kPrefix = 2, kPrefixLengths = 3, kForbidden = 4;
  ShapeHandle shape;
  DimensionHandle ignored;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kStart), 1, &shape));
  *batch = c->Dim(shape, 0);
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kSourceLengths), 1, &shape));
  TF_LS_RETURN_IF_ERROR(has_memory ? c->Merge(c->Dim(shape, 0), *batch, &ignored)
                                   : c->WithValue(c->Dim(shape, 0), 0, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kPrefix), 2, &shape));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *batch, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kPrefixLengths), 1, &shape));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *batch, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kForbidden), 1, &shape));
  for (int i = kForbidden + 1; i < kSearchInputs; ++i)
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(i), 0, &shape));
  return Status();
}

Status GenerationInputs::Read(OpKernelContext* context, const Tensor* memory, int64_t vocab_size) {
  if (vocab_size < 1 || vocab_size > kMost) {
    return InvalidArgument("the vocabulary must have from 1 to ", kMost, " words, got ",
                           vocab_size);
  }
  const Tensor* start;
  TF_LS_RETURN_IF_ERROR(context->input("start", &start));
  TF_LS_RETURN_IF_ERROR(CheckRank(*start, 1, "start"));
  TF_LS_RETURN_IF_ERROR(ReadOptions(context, memory != nullptr, vocab_size));
  TF_LS_RETURN_IF_ERROR(ReadSourceLengths(context, memory, start->dim_size(0)));
  TF_LS_RETURN_IF_ERROR(ReadSentences(context, memory, vocab_size));
  return CheckSize();
}

Status GenerationInputs::ReadOptions(OpKernelContext* context, bool has_memory,
                                     int64_t vocab_size) {
  SearchOptions& search = options_.search;
  int64_t eos = 0, seed = 0;
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, "eos", &eos));
  TF_LS_RETURN_IF_ERROR(CheckToken(eos, vocab_size, "eos"));
  search.eos = static_cast<int32_t>(eos);
  TF_LS_RETURN_IF_ERROR(ReadLengthPenalty(context, &search.length_penalty));
  const bool may_be_negative = search.length_penalty == LengthPenalty::kNeurst ||
                               search.length_penalty == LengthPenalty::kLightseq;
  TF_LS_RETURN_IF_ERROR(ReadNumber(
      context, "length_penalty_alpha", [](double x) { return std::fabs(x) <= 10.0; },
      "from -10 to 10", &search.length_penalty_alpha));
  if (search.length_penalty_alpha < 0.0 && !may_be_negative) {
    return InvalidArgument(
        "length_penalty_alpha must be at least 0 unless length_penalty is neurst or lightseq,"
        " got ",
        search.length_penalty_alpha);
  }
  TF_LS_RETURN_IF_ERROR(ReadNumber(context, "coverage_penalty", IsNotNegative, "at least 0",
                                   &search.coverage_penalty));
  TF_LS_RETURN_IF_ERROR(
      ReadNumber(context, "diversity", IsNotNegative, "at least 0", &search.diversity));
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, "early_stopping", &search.early_stopping));
  TF_LS_RETURN_IF_ERROR(
      ReadNumber(context, "patience", IsPositive, "more than 0", &search.patience));
  TF_LS_RETURN_IF_ERROR(ReadNumber(context, "repetition_penalty", IsPositive, "more than 0",
                                   &options_.repetition_penalty));
  TF_LS_RETURN_IF_ERROR(
      ReadInteger(context, "no_repeat_ngram_size", 0, kNoLimit, &search.no_repeat_ngram_size));
  TF_LS_RETURN_IF_ERROR(ReadInteger(context, "max_length", 1, kMost, &search.max_length));
  TF_LS_RETURN_IF_ERROR(
      ReadInteger(context, "min_length", 0, search.max_length, &search.min_length));
  TF_LS_RETURN_IF_ERROR(
      ReadInteger(context, "max_extra_length", kNoExtraLength, kNoLimit, &search.max_extra_length));
  TF_LS_RETURN_IF_ERROR(ReadNumber(context, "temperature", IsPositive, "more than 0",
                                   &options_.sampling.temperature));
  int top_k = 0;
  TF_LS_RETURN_IF_ERROR(ReadInteger(context, "top_k", 0, kNoLimit, &top_k));
  options_.sampling.top_k = top_k;
  TF_LS_RETURN_IF_ERROR(ReadNumber(
      context, "top_p", [](double x) { return x > 0.0 && x <= 1.0; }, "more than 0 and at most 1",
      &options_.sampling.top_p));
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, "seed", &seed));
  if (seed < 0) return InvalidArgument("seed must be at least 0, got ", seed);
  options_.sampling.seed = static_cast<uint64_t>(seed);
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, "return_attention", &search.return_attention));
  if (!has_memory && search.return_attention) {
    return InvalidArgument("return_attention is set, but the decoder has no cross-attention");
  }
  if (!has_memory && search.coverage_penalty > 0.0) {
    return InvalidArgument("coverage_penalty must be 0 for a decoder without cross-attention, got ",
                           search.coverage_penalty);
  }
  TF_LS_RETURN_IF_ERROR(ReadForbidden(context, vocab_size));
  return ReadSearch(context);
}

// How many hypotheses there are to be, and what a method leaves out.
Status GenerationInputs::ReadSearch(OpKernelContext* context) {
  SearchOptions& search = options_.search;
  tensorflow::tstring method;
  TF_LS_RETURN_IF_ERROR(ReadScalar(context, "method", &method));
  const bool greedy = method == "greedy", sampling = method == "sampling";
  const bool diverse = method == "diverse_beam_search";
  if (!greedy && !sampling && !diverse && method != "beam_search") {
    return InvalidArgument(
        "method must be greedy, beam_search, diverse_beam_search or sampling, got ",
        std::string(method));
  }
  TF_LS_RETURN_IF_ERROR(ReadInteger(context, "beam_size", 1, kMaxBeamSize, &search.beam_size));
  const int64_t most = sampling ? kMost : greedy ? 1 : search.beam_size;
  TF_LS_RETURN_IF_ERROR(ReadInteger(context, "num_hypotheses", 1, most, &search.num_hypotheses));
  num_hypotheses_ = search.num_hypotheses;
  if (!diverse) search.diversity = 0.0;
  if (greedy || sampling) {
    options_.samples = sampling ? search.num_hypotheses : 0;
    search.beam_size = search.num_hypotheses = 1;
    search.early_stopping = false;
  }
  return Status();
}

Status GenerationInputs::ReadForbidden(OpKernelContext* context, int64_t vocab_size) {
  const Tensor* tensor;
  TF_LS_RETURN_IF_ERROR(context->input("forbidden_tokens", &tensor));
  TF_LS_RETURN_IF_ERROR(CheckRank(*tensor, 1, "forbidden_tokens"));
  const auto tokens = tensor->flat<int64_t>();
  std::vector<int32_t>& forbidden = options_.search.forbidden_tokens;
  for (int64_t i = 0; i < tokens.size(); ++i) {
    TF_LS_RETURN_IF_ERROR(CheckToken(tokens(i), vocab_size, "forbidden_tokens"));
    forbidden.push_back(static_cast<int32_t>(tokens(i)));
  }
  std::sort(forbidden.begin(), forbidden.end());
  forbidden.erase(std::unique(forbidden.begin(), forbidden.end()), forbidden.end());
  return Status();
}

Status GenerationInputs::ReadSourceLengths(OpKernelContext* context, const Tensor* memory,
                                           int64_t batch) {
  const Tensor* tensor;
  TF_LS_RETURN_IF_ERROR(context->input("source_lengths", &tensor));
  TF_LS_RETURN_IF_ERROR(CheckShape(*tensor, {memory == nullptr ? 0 : batch}, "source_lengths"));
  if (memory == nullptr) return Status();
  TF_LS_RETURN_IF_ERROR(CheckRank(*memory, 3, "memory"));
  TF_LS_RETURN_IF_ERROR(
      CheckShape(*memory, {batch, memory->dim_size(1), memory->dim_size(2)}, "memory"));
  const int64_t most = std::min(memory->dim_size(1), kMost);
  const auto lengths = tensor->flat<int64_t>();
  for (int64_t i = 0; i < batch; ++i) {
    if (lengths(i) < 0 || lengths(i) > most) {
      return InvalidArgument("source length ", i, " must be from 0 to ", most, ", got ",
                             lengths(i));
    }
    source_lengths_.push_back(static_cast<int32_t>(lengths(i)));
  }
  return Status();
}

Status GenerationInputs::ReadSentences(OpKernelContext* context, const Tensor* memory,
                                       int64_t vocab_size) {
  const Tensor *start, *prefix, *prefix_lengths;
  TF_LS_RETURN_IF_ERROR(context->input("start", &start));
  TF_LS_RETURN_IF_ERROR(context->input("prefix", &prefix));
  TF_LS_RETURN_IF_ERROR(context->input("prefix_lengths", &prefix_lengths));
  const int64_t batch = start->dim_size(0);
  TF_LS_RETURN_IF_ERROR(CheckRank(*prefix, 2, "prefix"));
  TF_LS_RETURN_IF_ERROR(CheckShape(*prefix, {batch, prefix->dim_size(1)}, "prefix"));
  TF_LS_RETURN_IF_ERROR(CheckShape(*prefix_lengths, {batch}, "prefix_lengths"));
  const auto starts = start->flat<int64_t>(), lengths = prefix_lengths->flat<int64_t>();
  max_length_ = 1;
  for (int64_t i = 0; i < batch; ++i) {
    TF_LS_RETURN_IF_ERROR(CheckToken(starts(i), vocab_size, "start"));
    const auto source = memory == nullptr ? lengths(i) : source_lengths_[i];
    sentences_.push_back({static_cast<int32_t>(starts(i)), {}, static_cast<int>(source)});
    TF_LS_RETURN_IF_ERROR(ReadPrefix(i, *prefix, lengths(i), vocab_size));
    max_length_ = std::max<int64_t>(max_length_,
                                    options_.search.LengthLimit(sentences_.back().source_length));
  }
  return Status();
}

Status GenerationInputs::ReadPrefix(int64_t sentence, const Tensor& prefix, int64_t length,
                                    int64_t vocab_size) {
  const int64_t columns = prefix.dim_size(1);
  if (length < 0 || length > columns) {
    return InvalidArgument("prefix length ", sentence, " must be from 0 to ", columns, ", got ",
                           length);
  }
  SentenceStart& start = sentences_[sentence];
  const int64_t limit = options_.search.LengthLimit(start.source_length);
  if (length > limit) {
    return InvalidArgument("prefix ", sentence, " must have at most ", limit,
                           " tokens, where hypotheses end, got ", length);
  }
  const int64_t* const tokens = prefix.flat<int64_t>().data() + sentence * columns;
  for (int64_t i = 0; i < length; ++i) {
    TF_LS_RETURN_IF_ERROR(CheckToken(tokens[i], vocab_size, "prefix"));
    if (tokens[i] == options_.search.eos) {
      return InvalidArgument("prefix ", sentence, " must not contain eos (", tokens[i],
                             "), got it at ", i);
    }
    start.prefix.push_back(static_cast<int32_t>(tokens[i]));
  }
  return Status();
}

// Rows, and positions of rows, are counted by int32.
Status GenerationInputs::CheckSize() const {
  const double beams = static_cast<double>(sentences_.size()) * options_.SearchesOfSentence() *
                       options_.search.beam_size;
  const auto forbidden = static_cast<double>(options_.search.forbidden_tokens.size());
  // Rows that fill up are an eighth of all at most.
  const double listed = 1.125 * beams * (2.0 * max_length_ + forbidden + 2.0);
  if (listed < static_cast<double>(kMost)) return Status();
  return InvalidArgument("the batch has ", sentences_.size(), " sentences of ",
                         options_.SearchesOfSentence() * int64_t{options_.search.beam_size},
                         " hypotheses of up to ", max_length_,
                         " tokens, more than can be generated at once");
}

}  // namespace tf_ls
