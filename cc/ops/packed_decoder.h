#ifndef TF_LS_CC_OPS_PACKED_DECODER_H_
#define TF_LS_CC_OPS_PACKED_DECODER_H_

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cc/decoding/generation_model.h"
#include "cc/kernels/embedding.h"
#include "cc/ops/checks.h"
#include "cc/ops/decoder_inputs.h"
#include "cc/ops/device_context.h"
#include "cc/ops/layer_weights.h"
#include "tensorflow/core/framework/resource_mgr.h"

namespace tf_ls {

// A decoder as the generation loop reads it, its weights prepared for products of one type, in
// memory that lasts as long as this does, whatever becomes of the operation that made it. What is
// not copied is read in the tensors it was made of.
template <typename Device>
class PackedDecoder {
 public:
  PackedDecoder() = default;
  PackedDecoder(const PackedDecoder&) = delete;
  PackedDecoder& operator=(const PackedDecoder&) = delete;

  static Status ReadVocabSize(tensorflow::OpKernelContext* context, int64_t* vocab_size) {
    const tensorflow::Tensor* table;
    TF_LS_RETURN_IF_ERROR(context->input("table", &table));
    TF_LS_RETURN_IF_ERROR(CheckRank(*table, 2, "table"));
    *vocab_size = table->dim_size(0);
    return Status();
  }

  // Reads and checks an operation's inputs, TF_LS_DECODER_INPUTS, for activations of TensorType.
  // memory_size: what the layers attend to, 0 for nothing. Sinusoids are made for `positions`
  // tokens.
  template <typename TensorType>
  Status Read(tensorflow::OpKernelContext* context, const DecoderAttributes& attributes,
              int64_t memory_size, int64_t positions, DeviceContext<Device>* device) {
    using T = typename ComputeType<Device, TensorType>::type;
    TensorFlowArena arena(context, 0);
    type_ = tensorflow::DataTypeToEnum<TensorType>::value;
    memory_size_ = memory_size;
    TF_LS_RETURN_IF_ERROR(ReadEnds<T>(context, attributes, device, &arena));
    TF_LS_RETURN_IF_ERROR(ReadPositions(context, attributes, positions, device, &arena));
    TF_LS_RETURN_IF_ERROR(ReadLayers<T>(context, attributes, device, &arena));
    loop_weights_ = device->template PrepareLoop<T>(pieces_, &arena);
    memory_ = arena.blocks();
    return Status();
  }

  tensorflow::DataType type() const { return type_; }
  int64_t vocab_size() const { return model_.output.vocab_size; }
  // 0: without cross-attention.
  int64_t memory_size() const { return memory_size_; }

  // What generates hypotheses of up to max_length tokens on the device, as long as `lasting` does.
  Status ForLength(int64_t max_length, DeviceContext<Device>* device, Arena* lasting,
                   GenerationModel* model) const {
    *model = model_;
    device->Use(loop_weights_);
    if (model_.positions == nullptr || max_length <= positions_) return Status();
    if (!sinusoids_) {
      return tensorflow::errors::InvalidArgument(
          "the table of positions must have at least ", max_length,
          " rows, as many tokens as hypotheses may have, got ", positions_);
    }
    model->positions = Sinusoids(max_length, device, lasting);
    return Status();
  }

 private:
  using Tensor = tensorflow::Tensor;

  template <typename T>
  Status ReadEnds(tensorflow::OpKernelContext* context, const DecoderAttributes& attributes,
                  DeviceContext<Device>* device, Arena* arena) {
    const Tensor *table, *output;
    tensorflow::OpInputList norm, bias;
    TF_LS_RETURN_IF_ERROR(context->input("table", &table));
    TF_LS_RETURN_IF_ERROR(context->input("output_weights", &output));
    TF_LS_RETURN_IF_ERROR(context->input_list("norm", &norm));
    TF_LS_RETURN_IF_ERROR(context->input_list("output_bias", &bias));
    TF_LS_RETURN_IF_ERROR(CheckRank(*table, 2, "table"));
    const int64_t vocab_size = table->dim_size(0), hidden = table->dim_size(1);
    TF_LS_RETURN_IF_ERROR(CheckShape(*output, table->shape(), "output_weights"));
    for (const Tensor& part : norm) TF_LS_RETURN_IF_ERROR(CheckShape(part, {hidden}, "norm"));
    for (const Tensor& part : bias)
      TF_LS_RETURN_IF_ERROR(CheckShape(part, {vocab_size}, "output_bias"));
    const auto vector = [&](const Tensor& part) { return AddPiece<T>(part, device, arena).name(); };
    model_.embeddings = NumbersOf(Kept(*table));
    model_.embedding_scale = attributes.scale;
    model_.norm = {nullptr, nullptr};
    if (norm.size() > 0) model_.norm = {vector(norm[0]), vector(norm[1])};
    model_.epsilon = attributes.options.epsilon;
    WeightPiece& weights = AddPiece<T>(*output, device, arena);
    weights.transposed = true;
    model_.output = {weights.name(), nullptr, hidden, vocab_size};
    if (bias.size() > 0) model_.output.bias = vector(bias[0]);
    return Status();
  }

  Status ReadPositions(tensorflow::OpKernelContext* context, const DecoderAttributes& attributes,
                       int64_t count, DeviceContext<Device>* device, Arena* arena) {
    tensorflow::OpInputList positions;
    TF_LS_RETURN_IF_ERROR(context->input_list("positions", &positions));
    model_.positions = nullptr;
    sinusoids_ = attributes.sinusoids;
    if (sinusoids_) {
      positions_ = count;
      model_.positions = Sinusoids(count, device, arena);
    }
    if (positions.size() == 0) return Status();
    TF_LS_RETURN_IF_ERROR(CheckRank(positions[0], 2, "positions"));
    positions_ = positions[0].dim_size(0);
    TF_LS_RETURN_IF_ERROR(
        CheckShape(positions[0], {positions_, model_.hidden_size()}, "positions"));
    model_.positions = device->Float(Kept(positions[0]), arena);
    return Status();
  }

  template <typename T>
  Status ReadLayers(tensorflow::OpKernelContext* context, const DecoderAttributes& attributes,
                    DeviceContext<Device>* device, Arena* arena) {
    tensorflow::OpInputList weights;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &weights));
    const bool cross_attention = memory_size_ > 0;
    TF_LS_RETURN_IF_ERROR(CheckWeightCount(weights.size(), attributes.layers, cross_attention));
    std::vector<LayerOptions> options(attributes.layers, attributes.options);
    const int of_layer = WeightCount(cross_attention);
    for (int i = 0; i < attributes.layers; ++i) {
      options[i].hidden_size = model_.hidden_size();
      options[i].memory_size = memory_size_;
      TF_LS_RETURN_IF_ERROR(
          CheckWeights(weights, i * of_layer, "layer " + std::to_string(i) + " ", &options[i]));
    }
    for (const Tensor& weight : weights)
      pointers_.push_back(AddPiece<T>(weight, device, arena).name());
    for (int i = 0; i < attributes.layers; ++i)
      model_.layers.push_back({options[i], pointers_.data() + i * of_layer});
    return Status();
  }

  // A weight as it is prepared from: vectors are float32, matrices may be what they are.
  template <typename T>
  WeightPiece& AddPiece(const Tensor& tensor, DeviceContext<Device>* device, Arena* arena) {
    pieces_.push_back(PieceOf(NumbersOf(Kept(tensor)), tensor));
    WeightPiece& piece = pieces_.back();
    if (!piece.IsMatrix() || !device->template PreparesFrom<T>(tensor.dtype()))
      piece.numbers = device->Float(tensor, arena);
    return piece;
  }

  const Tensor& Kept(const Tensor& tensor) {
    tensors_.push_back(tensor);
    return tensor;
  }

  const float* Sinusoids(int64_t count, DeviceContext<Device>* device, Arena* arena) const {
    const int64_t hidden = model_.hidden_size();
    float* const signal = arena->Allocate<float>(count * hidden);
    SinusoidalPositions(device->device(), 0, count, hidden, signal);
    return signal;
  }

  GenerationModel model_;
  tensorflow::DataType type_ = tensorflow::DT_INVALID;
  int64_t memory_size_ = 0;
  int64_t positions_ = 0;  // that model_.positions has
  bool sinusoids_ = false;
  std::vector<WeightPiece> pieces_;
  std::vector<const float*> pointers_;  // to the layers' weights
  typename DeviceContext<Device>::LoopWeights loop_weights_;
  std::vector<Tensor> tensors_;
  std::vector<std::shared_ptr<void>> memory_;
};

// What a handle stands for: a decoder that may be replaced. Who uses it meanwhile keeps the old
// one.
template <typename Device>
class PackedDecoderResource : public tensorflow::ResourceBase {
 public:
  using Decoder = PackedDecoder<Device>;

  // Null before the first Set.
  std::shared_ptr<const Decoder> Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return decoder_;
  }
  void Set(std::shared_ptr<const Decoder> decoder) {
    const std::lock_guard<std::mutex> lock(mutex_);
    decoder_.swap(decoder);  // the old one goes when the lock has gone
  }

  std::string DebugString() const override {
    const auto decoder = Get();
    if (decoder == nullptr) return "no decoder";
    return "a decoder of " + std::to_string(decoder->vocab_size()) + " words for " +
           tensorflow::DataTypeString(decoder->type());
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Decoder> decoder_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_PACKED_DECODER_H_
