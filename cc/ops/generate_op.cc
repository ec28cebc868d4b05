#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "cc/decoding/generation_loop.h"
#include "cc/kernels/embedding.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/generation_inputs.h"
#include "cc/ops/layer_weights.h"
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

// Where inputs begin.
constexpr int kSourceLengths = 0, kStart = 1, kPrefix = 2, kPrefixLengths = 3, kForbidden = 4;
constexpr int kFirstOption = 5, kNumHypotheses = 8, kLastOption = 24;
constexpr int kMemory = kLastOption + 1;

// The attributes that say what the lists of inputs hold: of a shape function's context, or of a
// kernel's construction, because shape functions do not run eagerly.
template <typename Context>
Status CheckLists(Context* c, int* memories) {
  int positions = 0, norms = 0, biases = 0;
  tensorflow::DataType type;
  tensorflow::DataTypeVector memory_types;
  TF_LS_RETURN_IF_ERROR(c->GetAttr("T", &type));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("M", &memory_types));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("P", &positions));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("G", &norms));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("O", &biases));
  *memories = static_cast<int>(memory_types.size());
  if (*memories > 1 || positions > 1 || biases > 1) {
    return InvalidArgument(
        "there is at most one memory, one table of positions and one output bias, got ", *memories,
        ", ", positions, " and ", biases);
  }
  if (norms != 0 && norms != 2) {
    return InvalidArgument("norm must be a list of gamma and beta, or empty, got ", norms,
                           " tensors");
  }
  if (*memories == 0 || memory_types[0] == type) return Status();
  return InvalidArgument("memory must be ", tensorflow::DataTypeString(type), ", got ",
                         tensorflow::DataTypeString(memory_types[0]));
}

Status CheckShapes(InferenceContext* c) {
  int memories = 0, positions = 0, norms = 0, biases = 0, weights = 0, layers = 0;
  TF_LS_RETURN_IF_ERROR(CheckLists(c, &memories));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("P", &positions));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("G", &norms));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("O", &biases));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("N", &weights));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("num_layers", &layers));

  ShapeHandle start, shape, table, norm, matrix;
  DimensionHandle memory_size = c->UnknownDim(), ignored;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kStart), 1, &start));
  const DimensionHandle batch = c->Dim(start, 0);
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kSourceLengths), 1, &shape));
  TF_LS_RETURN_IF_ERROR(memories > 0 ? c->Merge(c->Dim(shape, 0), batch, &ignored)
                                     : c->WithValue(c->Dim(shape, 0), 0, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kPrefix), 2, &shape));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), batch, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kPrefixLengths), 1, &shape));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), batch, &ignored));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(kForbidden), 1, &shape));
  for (int i = kFirstOption; i <= kLastOption; ++i)
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(i), 0, &shape));
  int next = kMemory;
  if (memories > 0) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(next++), 3, &shape));
    TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), batch, &ignored));
    memory_size = c->Dim(shape, 2);
  }
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(next++), 2, &table));
  DimensionHandle hidden = c->Dim(table, 1);
  for (int i = 0; i < positions; ++i) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(next++), 2, &matrix));
    TF_LS_RETURN_IF_ERROR(c->Merge(hidden, c->Dim(matrix, 1), &hidden));
  }
  for (int i = 0; i < norms; ++i) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(next++), 1, &norm));
    TF_LS_RETURN_IF_ERROR(c->Merge(hidden, c->Dim(norm, 0), &hidden));
  }
  TF_LS_RETURN_IF_ERROR(c->Merge(table, c->input(next++), &table));
  for (int i = 0; i < biases; ++i) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(next++), 1, &shape));
    TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(table, 0), c->Dim(shape, 0), &ignored));
  }
  const int of_layer = WeightCount(memories > 0);
  if (weights != layers * of_layer) {
    return InvalidArgument("expected ", of_layer, " weights of each of ", layers, " layers, got ",
                           weights);
  }
  for (int i = 0; i < layers; ++i) {
    TF_LS_RETURN_IF_ERROR(
        CheckWeightShapes(c, next + i * of_layer, of_layer, hidden, memories > 0, memory_size));
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

// Everything up to `memory` is read on the host, and all of it stands in front of the lists:
// TensorFlow counts an empty list as one input where it looks for an int32 in host memory.
REGISTER_OP("LSGenerate")
    .Input("source_lengths: int64")
    .Input("start: int64")
    .Input("prefix: int64")
    .Input("prefix_lengths: int64")
    .Input("forbidden_tokens: int64")
    .Input("eos: int64")
    .Input("method: string")
    .Input("beam_size: int64")
    .Input("num_hypotheses: int64")
    .Input("length_penalty: string")
    .Input("length_penalty_alpha: double")
    .Input("coverage_penalty: double")
    .Input("diversity: double")
    .Input("early_stopping: bool")
    .Input("patience: double")
    .Input("repetition_penalty: double")
    .Input("no_repeat_ngram_size: int64")
    .Input("min_length: int64")
    .Input("max_length: int64")
    .Input("max_extra_length: int64")  // -1: none
    .Input("temperature: double")
    .Input("top_k: int64")
    .Input("top_p: double")
    .Input("seed: int64")
    .Input("return_attention: bool")
    .Input("memory: M")
    .Input("table: W")
    .Input("positions: P * W")
    .Input("norm: G * W")
    .Input("output_weights: W")
    .Input("output_bias: O * W")
    .Input("weights: N * W")
    .Output("tokens: int64")
    .Output("lengths: int64")
    .Output("scores: float")
    .Output("log_probs: float")
    .Output("attention: float")
    .Attr("T: {float, half, bfloat16}")
    .Attr("W: {float, half, bfloat16} = DT_FLOAT")
    // [T], or empty, for T to be told without a memory, too.
    .Attr("M: list({float, half, bfloat16}) >= 0")
    .Attr("P: int >= 0")
    .Attr("G: int >= 0")
    .Attr("O: int >= 0")
    .Attr("N: int >= 1")
    .Attr("num_layers: int >= 1")
    .Attr("num_heads: int >= 1")
    .Attr("pre_norm: bool = true")
    .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox'} = 'relu'")
    .Attr("epsilon: float = 1e-6")
    .Attr("scale: float = 1.0")
    .Attr("sinusoids: bool = false")
    .SetShapeFn(CheckShapes);

// The model's part of the inputs, checked and prepared for products.
template <typename Device>
class ModelInputs {
 public:
  // `prepared` is where prepared weights go, for as long as the model is used.
  template <typename T>
  Status Read(OpKernelContext* context, const LayerOptions& options, int layers, bool sinusoids,
              int64_t max_length, DeviceContext<Device>* device, Arena* prepared) {
    TF_LS_RETURN_IF_ERROR(ReadEnds(context, options, device));
    TF_LS_RETURN_IF_ERROR(ReadPositions(context, sinusoids, max_length, device, prepared));
    TF_LS_RETURN_IF_ERROR(ReadLayers(context, options, layers, device));
    device->template PrepareWeights<T>(
        pieces_,
        prepared->Allocate<unsigned char>(
            device->template PreparedBytes<T>(pieces_, WeightUse::kLoop)),
        WeightUse::kLoop);
    return Status();
  }

  static Status ReadVocabSize(OpKernelContext* context, int64_t* vocab_size) {
    const Tensor* table;
    TF_LS_RETURN_IF_ERROR(context->input("table", &table));
    TF_LS_RETURN_IF_ERROR(CheckRank(*table, 2, "table"));
    *vocab_size = table->dim_size(0);
    return Status();
  }

  void set_scale(float scale) { model_.embedding_scale = scale; }
  const GenerationModel& model() const { return model_; }

 private:
  Status ReadEnds(OpKernelContext* context, const LayerOptions& options,
                  DeviceContext<Device>* device) {
    const Tensor *table, *output;
    OpInputList norm, bias;
    TF_LS_RETURN_IF_ERROR(context->input("table", &table));
    TF_LS_RETURN_IF_ERROR(context->input("output_weights", &output));
    TF_LS_RETURN_IF_ERROR(context->input_list("norm", &norm));
    TF_LS_RETURN_IF_ERROR(context->input_list("output_bias", &bias));
    const int64_t vocab_size = table->dim_size(0), hidden = table->dim_size(1);
    TF_LS_RETURN_IF_ERROR(CheckShape(*output, table->shape(), "output_weights"));
    for (const Tensor& part : norm) TF_LS_RETURN_IF_ERROR(CheckShape(part, {hidden}, "norm"));
    for (const Tensor& part : bias)
      TF_LS_RETURN_IF_ERROR(CheckShape(part, {vocab_size}, "output_bias"));
    model_.embeddings = device->Float(*table);
    model_.norm = {};
    if (norm.size() > 0) model_.norm = {device->Float(norm[0]), device->Float(norm[1])};
    model_.epsilon = options.epsilon;
    const bool tied = output->data() == table->data();
    model_.output = {tied ? model_.embeddings : device->Float(*output),
                     bias.size() > 0 ? device->Float(bias[0]) : nullptr, hidden, vocab_size};
    pieces_.push_back({model_.output.weights, vocab_size, hidden, /*transposed=*/true});
    return Status();
  }

  Status ReadPositions(OpKernelContext* context, bool sinusoids, int64_t max_length,
                       DeviceContext<Device>* device, Arena* lasting) {
    const int64_t hidden = model_.hidden_size();
    OpInputList positions;
    TF_LS_RETURN_IF_ERROR(context->input_list("positions", &positions));
    model_.positions = nullptr;
    if (positions.size() == 0) {
      if (!sinusoids) return Status();
      float* const signal = lasting->Allocate<float>(max_length * hidden);
      SinusoidalPositions(device->device(), 0, max_length, hidden, signal);
      model_.positions = signal;
      return Status();
    }
    if (sinusoids) return InvalidArgument("positions are given, and sinusoids wanted too");
    TF_LS_RETURN_IF_ERROR(CheckRank(positions[0], 2, "positions"));
    TF_LS_RETURN_IF_ERROR(
        CheckShape(positions[0], {positions[0].dim_size(0), hidden}, "positions"));
    if (positions[0].dim_size(0) < max_length) {
      return InvalidArgument("the table of positions must have at least ", max_length,
                             " rows, as many tokens as hypotheses may have, got ",
                             positions[0].dim_size(0));
    }
    model_.positions = device->Float(positions[0]);
    return Status();
  }

  Status ReadLayers(OpKernelContext* context, const LayerOptions& options, int layers,
                    DeviceContext<Device>* device) {
    OpInputList weights;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &weights));
    const int of_layer = WeightCount(options.memory_size > 0);
    if (weights.size() != layers * of_layer) {
      return InvalidArgument("expected ", of_layer, " weights of each of ", layers, " layers, got ",
                             weights.size());
    }
    for (const Tensor& weight : weights) {
      pointers_.push_back(device->Float(weight));
      pieces_.push_back(PieceOf(pointers_.back(), weight));
    }
    for (int i = 0; i < layers; ++i) {
      LayerOptions of_this = options;
      of_this.hidden_size = model_.hidden_size();
      TF_LS_RETURN_IF_ERROR(
          CheckWeights(weights, i * of_layer, "layer " + std::to_string(i) + " ", &of_this));
      model_.layers.push_back({of_this, pointers_.data() + i * of_layer});
    }
    return Status();
  }

  GenerationModel model_;
  std::vector<const float*> pointers_;  // to the layers' weights
  std::vector<WeightPiece> pieces_;
};

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

template <typename Device, typename TensorType>
class GenerateOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit GenerateOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    int memories = 0;
    OP_REQUIRES_OK(construction, CheckLists(construction, &memories));
    OP_REQUIRES_OK(construction, ReadLayerOptions(construction, &options_));
    OP_REQUIRES_OK(construction, construction->GetAttr("num_layers", &layers_));
    OP_REQUIRES_OK(construction, construction->GetAttr("scale", &scale_));
    OP_REQUIRES_OK(construction, construction->GetAttr("sinusoids", &sinusoids_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    OpInputList memories;
    int64_t vocab_size;
    TF_LS_RETURN_IF_ERROR(context->input_list("memory", &memories));
    TF_LS_RETURN_IF_ERROR(ModelInputs<Device>::ReadVocabSize(context, &vocab_size));
    const Tensor* const memory = memories.size() > 0 ? &memories[0] : nullptr;
    GenerationInputs inputs;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, memory, vocab_size));
    LayerOptions options = options_;
    if (memory != nullptr) {
      options.memory_size = memory->dim_size(2);
      if (options.memory_size < 1) {
        return InvalidArgument("memory must have columns, got ", memory->shape().DebugString());
      }
    }
    // Caches and prepared weights are no scratch memory, of which the next run would ask for as
    // much, however small it is.
    TensorFlowArena lasting(context, 0), host(context, 0, PinnedMemory());
    ModelInputs<Device> model;
    TF_LS_RETURN_IF_ERROR(model.template Read<T>(context, options, layers_, sinusoids_,
                                                 inputs.max_length(), device, &lasting));
    model.set_scale(scale_);
    GenerationMemory<T> source = {nullptr, 0, 0, nullptr};
    if (memory != nullptr) {
      source = {device->template Read<T>(*memory), memory->dim_size(0), memory->dim_size(1),
                inputs.source_lengths().data()};
    }
    tensorflow::CancellationManager* const manager = context->cancellation_manager();
    const auto cancelled = [manager] { return manager != nullptr && manager->IsCancelled(); };
    try {
      const auto results =
          Generate<Device, T>(device->device(), model.model(), source, inputs.sentences(),
                              inputs.options(), {&lasting, &host}, cancelled);
      return WriteResults(context, results, inputs, source.length);
    } catch (const Cancelled& error) {
      return tensorflow::errors::Cancelled(error.what());
    } catch (const std::invalid_argument& error) {
      return InvalidArgument(error.what());
    }
  }

 private:
  LayerOptions options_;
  int layers_;
  float scale_;
  bool sinusoids_;
};

// (On the GPU results go to host memory: they have been there all the time.)
TF_LS_REGISTER_FOR_FLOATS("LSGenerate", GenerateOp,
                          .HostMemory("source_lengths")
                              .HostMemory("start")
                              .HostMemory("prefix")
                              .HostMemory("prefix_lengths")
                              .HostMemory("forbidden_tokens")
                              .HostMemory("eos")
                              .HostMemory("method")
                              .HostMemory("beam_size")
                              .HostMemory("num_hypotheses")
                              .HostMemory("length_penalty")
                              .HostMemory("length_penalty_alpha")
                              .HostMemory("coverage_penalty")
                              .HostMemory("diversity")
                              .HostMemory("early_stopping")
                              .HostMemory("patience")
                              .HostMemory("repetition_penalty")
                              .HostMemory("no_repeat_ngram_size")
                              .HostMemory("min_length")
                              .HostMemory("max_length")
                              .HostMemory("max_extra_length")
                              .HostMemory("temperature")
                              .HostMemory("top_k")
                              .HostMemory("top_p")
                              .HostMemory("seed")
                              .HostMemory("return_attention")
                              .HostMemory("tokens")
                              .HostMemory("lengths")
                              .HostMemory("scores")
                              .HostMemory("log_probs")
                              .HostMemory("attention"))

}  // namespace
}  // namespace tf_ls
