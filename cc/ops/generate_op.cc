#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cc/decoding/generation_loop.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/generation_inputs.h"
#include "cc/ops/packed_decoder.h"
#include "cc/ops/packed_resource.h"
#include "cc/ops/token_streams.h"
#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The inputs of all operations begin with TF_LS_SEARCH_INPUTS; then (behind the number of a token
// stream, if there is one) the memory, then a decoder.
constexpr int kMemory = kSearchInputs;

// Of a shape function's context, or of a kernel's construction, because shape functions do not run
// eagerly.
template <typename Context>
Status ReadMemories(Context* context, int* memories) {
  tensorflow::DataType type;
  tensorflow::DataTypeVector memory_types;
  TF_LS_RETURN_IF_ERROR(context->GetAttr("T", &type));
  TF_LS_RETURN_IF_ERROR(context->GetAttr("M", &memory_types));
  *memories = static_cast<int>(memory_types.size());
  if (*memories > 1) {
    return InvalidArgument("there is at most one memory, got ", *memories);
  }
  if (*memories == 0 || memory_types[0] == type) return Status();
  return InvalidArgument("memory must be ", tensorflow::DataTypeString(type), ", got ",
                         tensorflow::DataTypeString(memory_types[0]));
}

// All but the decoder. memory_size: of the memory; unknown if there is none.
Status CheckShapes(InferenceContext* c, int memory_place, int* memories,
                   DimensionHandle* memory_size) {
  TF_LS_RETURN_IF_ERROR(ReadMemories(c, memories));
  DimensionHandle batch;
  TF_LS_RETURN_IF_ERROR(CheckSearchShapes(c, *memories > 0, &batch));
  *memory_size = c->UnknownDim();
  if (*memories > 0) {
    ShapeHandle memory;
    DimensionHandle ignored;
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(memory_place), 3, &memory));
    TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(memory, 0), batch, &ignored));
    *memory_size = c->Dim(memory, 2);
  }
  DimensionHandle count;
  TF_LS_RETURN_IF_ERROR(c->MakeDimForScalarInput(kNumHypotheses, &count));
  const DimensionHandle longest = c->UnknownDim();
  c->set_output(0, c->MakeShape({batch, count, longest}));
  c->set_output(1, c->Matrix(batch, count));
  c->set_output(2, c->Matrix(batch, count));
  c->set_output(3, c->MakeShape({batch, count, longest}));
  c->set_output(4, c->MakeShape({batch, count, longest, c->UnknownDim()}));
  return Status();
}

Status CheckPackedShapes(InferenceContext* c, int memory_place) {
  int memories = 0;
  DimensionHandle memory_size;
  ShapeHandle scalar;
  TF_LS_RETURN_IF_ERROR(CheckShapes(c, memory_place, &memories, &memory_size));
  return c->WithRank(c->input(memory_place + memories), 0, &scalar);
}

// What all operations have in common. (T is told without a memory, too.)
#define TF_LS_GENERATE_OUTPUTS            \
  .Output("tokens: int64")                \
      .Output("lengths: int64")           \
      .Output("scores: float")            \
      .Output("log_probs: float")         \
      .Output("attention: float")         \
      .Attr("T: {float, half, bfloat16}") \
      .Attr("M: list({float, half, bfloat16}) >= 0")

// Weights are prepared in each call.
REGISTER_OP("LSGenerate")
TF_LS_SEARCH_INPUTS.Input("memory: M")
    TF_LS_DECODER_INPUTS TF_LS_GENERATE_OUTPUTS.SetShapeFn([](InferenceContext* c) {
      int memories = 0;
      DimensionHandle memory_size;
      TF_LS_RETURN_IF_ERROR(CheckShapes(c, kMemory, &memories, &memory_size));
      return CheckDecoderShapes(c, kMemory + memories, memories > 0, memory_size);
    });

// `decoder`: a handle that LSPackDecoder has filled.
REGISTER_OP("LSGeneratePacked")
TF_LS_SEARCH_INPUTS.Input("memory: M")
    .Input("decoder: resource") TF_LS_GENERATE_OUTPUTS.SetIsStateful()
    .SetShapeFn([](InferenceContext* c) { return CheckPackedShapes(c, kMemory); });

// The same, and tells tokens as they come: `stream` is a number of LSOpenTokenStream, of a stream
// that nobody has written to. It ends with the operation, whatever becomes of that.
REGISTER_OP("LSGenerateStream")
TF_LS_SEARCH_INPUTS.Input("stream: int64")
    .Input("memory: M")
    .Input("decoder: resource") TF_LS_GENERATE_OUTPUTS.SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kSearchInputs), 0, &scalar));
      return CheckPackedShapes(c, kSearchInputs + 1);
    });

// Writes what was found, padded.
Status WriteResults(OpKernelContext* context, const std::vector<std::vector<Found>>& results,
                    const GenerationInputs& inputs, int64_t memory_length) {
  const auto batch = static_cast<int64_t>(results.size());
  const int64_t count = inputs.num_hypotheses();
  const SearchOptions& options = inputs.options().search;
  size_t most = 0;
  for (const auto& of_sentence : results) {
    for (const Found& found : of_sentence) most = std::max(most, found.tokens.size());
  }
  const auto longest = static_cast<int64_t>(most);
  const int64_t width = options.return_attention ? memory_length : 0;
  Tensor *tokens, *lengths, *scores, *log_probs, *attention;
  TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {batch, count, longest}, &tokens));
  TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {batch, count}, &lengths));
  TF_LS_RETURN_IF_ERROR(context->allocate_output(2, {batch, count}, &scores));
  TF_LS_RETURN_IF_ERROR(context->allocate_output(3, {batch, count, longest}, &log_probs));
  TF_LS_RETURN_IF_ERROR(context->allocate_output(4, {batch, count, longest, width}, &attention));
  auto all_tokens = tokens->flat_inner_dims<int64_t, 3>();
  auto all_log_probs = log_probs->flat_inner_dims<float, 3>();
  auto all_attention = attention->flat_inner_dims<float, 4>();
  auto all_lengths = lengths->matrix<int64_t>();
  auto all_scores = scores->matrix<float>();
  all_tokens.setConstant(options.eos);
  all_log_probs.setZero();
  all_attention.setZero();
  all_lengths.setZero();
  all_scores.setConstant(-std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < batch; ++i) {
    const int64_t source = inputs.sentences()[i].source_length;
    for (size_t j = 0; j < results[i].size(); ++j) {
      const Found& found = results[i][j];
      const auto length = static_cast<int64_t>(found.tokens.size());
      all_lengths(i, j) = length;
      all_scores(i, j) = static_cast<float>(found.score);
      for (int64_t k = 0; k < length; ++k) {
        all_tokens(i, j, k) = found.tokens[k];
        all_log_probs(i, j, k) = found.log_probs[k];
        for (int64_t s = 0; width > 0 && s < source; ++s) {
          all_attention(i, j, k, s) = found.attention[k * source + s];
        }
      }
    }
  }
  return Status();
}

// Generates with a decoder, whose type is that of the activations.
template <typename Device, typename TensorType>
class SearchOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit SearchOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    int memories = 0;
    OP_REQUIRES_OK(construction, ReadMemories(construction, &memories));
  }

 protected:
  using Decoder = PackedDecoder<Device>;

  // Null if there is none.
  Status ReadMemory(OpKernelContext* context, const Tensor** memory) const {
    OpInputList memories;
    TF_LS_RETURN_IF_ERROR(context->input_list("memory", &memories));
    *memory = memories.size() > 0 ? &memories[0] : nullptr;
    return Status();
  }

  Status Search(OpKernelContext* context, DeviceContext<Device>* device, const Decoder& decoder,
                const GenerationInputs& inputs, const Tensor* memory,
                const TokenListener& listener = nullptr) const {
    // Caches are no scratch memory, of which the next run would ask for as much, however small it
    // is.
    TensorFlowArena lasting(context, 0), host(context, 0, PinnedMemory());
    GenerationModel model;
    TF_LS_RETURN_IF_ERROR(decoder.ForLength(inputs.max_length(), device, &lasting, &model));
    GenerationMemory<T> source = {nullptr, 0, 0, nullptr};
    if (memory != nullptr) {
      source = {device->template Read<T>(*memory), memory->dim_size(0), memory->dim_size(1),
                inputs.source_lengths().data()};
    }
    tensorflow::CancellationManager* const manager = context->cancellation_manager();
    const auto cancelled = [manager] { return manager != nullptr && manager->IsCancelled(); };
    device->BeginLoop();
    try {
      const auto results =
          Generate<Device, T>(device->device(), model, source, inputs.sentences(), inputs.options(),
                              {&lasting, &host}, cancelled, listener);
      return WriteResults(context, results, inputs, source.length);
    } catch (const Cancelled& error) {
      return tensorflow::errors::Cancelled(error.what());
    } catch (const std::invalid_argument& error) {
      return InvalidArgument(error.what());
    }
  }
};

template <typename Device, typename TensorType>
class GenerateOp : public SearchOp<Device, TensorType> {
 public:
  explicit GenerateOp(OpKernelConstruction* construction)
      : SearchOp<Device, TensorType>(construction) {
    OP_REQUIRES_OK(construction, ReadDecoderAttributes(construction, &attributes_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor* memory;
    int64_t vocab_size;
    GenerationInputs inputs;
    TF_LS_RETURN_IF_ERROR(this->ReadMemory(context, &memory));
    TF_LS_RETURN_IF_ERROR(PackedDecoder<Device>::ReadVocabSize(context, &vocab_size));
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, memory, vocab_size));
    const int64_t memory_size = memory == nullptr ? 0 : memory->dim_size(2);
    if (memory != nullptr && memory_size < 1) {
      return InvalidArgument("memory must have columns, got ", memory->shape().DebugString());
    }
    PackedDecoder<Device> decoder;
    TF_LS_RETURN_IF_ERROR(decoder.template Read<TensorType>(context, attributes_, memory_size,
                                                            inputs.max_length(), device));
    return this->Search(context, device, decoder, inputs, memory);
  }

 private:
  StackAttributes attributes_;
};

template <typename Device, typename TensorType>
class GeneratePackedOp : public SearchOp<Device, TensorType> {
 public:
  using SearchOp<Device, TensorType>::SearchOp;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    return SearchPacked(context, device, nullptr);
  }

  Status SearchPacked(OpKernelContext* context, DeviceContext<Device>* device,
                      const TokenListener& listener) const {
    const Tensor* memory;
    std::shared_ptr<const PackedDecoder<Device>> decoder;
    GenerationInputs inputs;
    TF_LS_RETURN_IF_ERROR(this->ReadMemory(context, &memory));
    constexpr auto kType = tensorflow::DataTypeToEnum<TensorType>::value;
    TF_LS_RETURN_IF_ERROR(GetPacked(context, "decoder", kType, &decoder));
    TF_LS_RETURN_IF_ERROR(CheckMemory(*decoder, memory));
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, memory, decoder->vocab_size()));
    const SearchOptions& search = inputs.options().search;
    if (listener && !search.TokensAreFinal()) {
      return InvalidArgument(
          "only tokens of greedy search, of sampling and of a beam of 1 without early_stopping are"
          " final when they come and can be streamed, got a beam of ",
          search.beam_size, search.early_stopping ? " with early_stopping" : "");
    }
    return this->Search(context, device, *decoder, inputs, memory, listener);
  }

 private:
  static Status CheckMemory(const PackedDecoder<Device>& decoder, const Tensor* memory) {
    const int64_t size = decoder.memory_size();
    if (memory == nullptr) {
      if (size == 0) return Status();
      return InvalidArgument("the decoder attends to a memory of ", size, " columns, got none");
    }
    if (size == 0) return InvalidArgument("the decoder attends to no memory, got one");
    TF_LS_RETURN_IF_ERROR(CheckRank(*memory, 3, "memory"));
    return CheckShape(*memory, {memory->dim_size(0), memory->dim_size(1), size}, "memory");
  }
};

template <typename Device, typename TensorType>
class GenerateStreamOp : public GeneratePackedOp<Device, TensorType> {
 public:
  using GeneratePackedOp<Device, TensorType>::GeneratePackedOp;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor* number;
    TF_LS_RETURN_IF_ERROR(context->input("stream", &number));
    TF_LS_RETURN_IF_ERROR(CheckShape(*number, {}, "stream"));
    Writing stream;
    TF_LS_RETURN_IF_ERROR(stream.Begin(number->scalar<int64_t>()()));
    return this->SearchPacked(context, device,
                              [&](const std::vector<NewToken>& tokens) { stream->Write(tokens); });
  }

 private:
  // A stream from its first token to its end.
  class Writing {
   public:
    Writing() = default;
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;
    ~Writing() {
      if (stream_ != nullptr) stream_->Close();
    }

    Status Begin(int64_t number) {
      std::shared_ptr<TokenStream> stream;
      TF_LS_RETURN_IF_ERROR(TokenStreams::Global().Find(number, &stream));
      if (stream == nullptr || !stream->Begin()) {
        return InvalidArgument("token stream ", number, " is closed or belongs to another call");
      }
      stream_ = stream;
      return Status();
    }
    TokenStream* operator->() const { return stream_.get(); }

   private:
    std::shared_ptr<TokenStream> stream_;
  };
};

// (On the GPU results go to host memory: they have been there all the time.)
#define TF_LS_ON_HOST                           \
  TF_LS_SEARCH_HOST_MEMORY.HostMemory("tokens") \
      .HostMemory("lengths")                    \
      .HostMemory("scores")                     \
      .HostMemory("log_probs")                  \
      .HostMemory("attention")

TF_LS_REGISTER_FOR_FLOATS("LSGenerate", GenerateOp, TF_LS_ON_HOST)
TF_LS_REGISTER_FOR_FLOATS("LSGeneratePacked", GeneratePackedOp, TF_LS_ON_HOST.HostMemory("decoder"))
TF_LS_REGISTER_FOR_FLOATS("LSGenerateStream", GenerateStreamOp,
                          TF_LS_ON_HOST.HostMemory("stream").HostMemory("decoder"))

}  // namespace
}  // namespace tf_ls
