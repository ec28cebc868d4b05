#ifndef TF_LS_CC_OPS_PACKED_STACK_H_
#define TF_LS_CC_OPS_PACKED_STACK_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cc/kernels/embedding.h"
#include "cc/layers/layer_stack.h"
#include "cc/ops/device_context.h"
#include "cc/ops/int8_scales.h"
#include "cc/ops/layer_weights.h"
#include "cc/ops/stack_inputs.h"
#include "cc/ops/token_types.h"

namespace tf_ls {

// Sinusoids that are kept behind a handle; who has longer sentences makes its own.
constexpr int64_t kKeptPositions = 1024;

// A stack whose weights are prepared for products of one type, in memory that lasts as long as this
// does, whatever becomes of the operation that made it. What is not copied is read in the tensors
// it was made of.
//
// To make one: Read, AddPiece for what else there is to multiply by, Prepare.
template <typename Device>
class PackedStack {
 public:
  PackedStack() = default;
  PackedStack(const PackedStack&) = delete;
  PackedStack& operator=(const PackedStack&) = delete;

  // Reads and checks the inputs of an operation that a stack is made of, for activations of
  // TensorType. memory_size: what the layers attend to, 0 for nothing. Sinusoids are made for
  // `positions` tokens. Memory is the arena's.
  template <typename TensorType>
  Status Read(tensorflow::OpKernelContext* context, const StackAttributes& attributes,
              int64_t memory_size, int64_t positions, DeviceContext<Device>* device, Arena* arena) {
    using T = typename ComputeType<Device, TensorType>::type;
    type_ = tensorflow::DataTypeToEnum<TensorType>::value;
    TF_LS_RETURN_IF_ERROR(scales_.Read(context));
    TF_LS_RETURN_IF_ERROR(ReadEnds<T>(context, attributes, device, arena));
    TF_LS_RETURN_IF_ERROR(ReadPositions(context, attributes, positions, device, arena));
    return ReadLayers<T>(context, attributes, memory_size, device, arena);
  }

  // Adds a weight; *name is what products know it by. Vectors are read as float32; of a matrix,
  // products read what Prepare makes. `what` names it in messages.
  template <typename T>
  Status AddPiece(const tensorflow::Tensor& tensor, bool transposed, const std::string& what,
                  DeviceContext<Device>* device, Arena* arena, const float** name) {
    AnyNumbers numbers;
    TF_LS_RETURN_IF_ERROR(KeepNumbers(tensor, transposed, what, &numbers));
    WeightPiece piece = PieceOf(numbers, tensor);
    piece.transposed = transposed;
    if (piece.IsInt8() && !piece.IsMatrix()) {
      return tensorflow::errors::InvalidArgument(
          what, " is int8, so it must have two rows or more and columns, got shape ",
          tensor.shape().DebugString());
    }
    const bool is_prepared =
        piece.IsInt8() || (piece.IsMatrix() && device->template PreparesFrom<T>(tensor.dtype()));
    if (!is_prepared) piece.numbers = device->Float(tensor, arena);
    pieces_.push_back(piece);
    *name = piece.name();
    return Status();
  }

  // Prepares all weights for products of T, and keeps the arena's memory.
  template <typename T>
  Status Prepare(DeviceContext<Device>* device, TensorFlowArena* arena) {
    TF_LS_RETURN_IF_ERROR(scales_.CheckAllUsed());
    scales_ = {};  // which are the operation's
    loop_weights_ = device->template PrepareLoop<T>(pieces_, arena);
    memory_ = arena->blocks();
    return Status();
  }

  tensorflow::DataType type() const { return type_; }
  int64_t vocab_size() const { return vocab_size_; }
  int64_t hidden_size() const { return hidden_size_; }
  // How long sentences may be: as many positions as each token type has, if there is a table.
  int64_t max_length() const { return max_length_; }
  int token_types() const { return token_types_; }

  // The stack for sentences of up to `length` tokens on the device, as long as `lasting` does.
  LayerStack ForLength(int64_t length, DeviceContext<Device>* device, Arena* lasting) const {
    LayerStack stack = stack_;
    device->Use(loop_weights_);
    if (length > kept_positions_) stack.positions = Sinusoids(length, device, lasting);
    return stack;
  }

 private:
  using Tensor = tensorflow::Tensor;

  template <typename T>
  Status ReadEnds(tensorflow::OpKernelContext* context, const StackAttributes& attributes,
                  DeviceContext<Device>* device, Arena* arena) {
    const Tensor* table;
    TF_LS_RETURN_IF_ERROR(context->input("table", &table));
    TF_LS_RETURN_IF_ERROR(CheckRank(*table, 2, "table"));
    vocab_size_ = table->dim_size(0);
    hidden_size_ = table->dim_size(1);
    TF_LS_RETURN_IF_ERROR(KeepNumbers(*table, /*transposed=*/true, "table", &stack_.embeddings));
    stack_.embedding_scale = attributes.scale;
    stack_.epsilon = attributes.options.epsilon;
    TF_LS_RETURN_IF_ERROR(
        ReadNorm<T>(context, "embedding_norm", device, arena, &stack_.embedding_norm));
    return ReadNorm<T>(context, "norm", device, arena, &stack_.norm);
  }

  // gamma and beta, or none.
  template <typename T>
  Status ReadNorm(tensorflow::OpKernelContext* context, const char* name,
                  DeviceContext<Device>* device, Arena* arena,
                  LayerNormWeights<const float*>* norm) {
    tensorflow::OpInputList parts;
    TF_LS_RETURN_IF_ERROR(context->input_list(name, &parts));
    for (const Tensor& part : parts) TF_LS_RETURN_IF_ERROR(CheckShape(part, {hidden_size_}, name));
    *norm = {nullptr, nullptr};
    if (parts.size() == 0) return Status();
    const auto add = [&](const Tensor& part, const float** weight) {
      return AddPiece<T>(part, /*transposed=*/false, name, device, arena, weight);
    };
    TF_LS_RETURN_IF_ERROR(add(parts[0], &norm->gamma));
    return add(parts[1], &norm->beta);
  }

  Status ReadPositions(tensorflow::OpKernelContext* context, const StackAttributes& attributes,
                       int64_t count, DeviceContext<Device>* device, Arena* arena) {
    tensorflow::OpInputList positions;
    TF_LS_RETURN_IF_ERROR(context->input_list("positions", &positions));
    stack_.positions = nullptr;
    if (attributes.sinusoids) {
      kept_positions_ = count;
      stack_.positions = Sinusoids(count, device, arena);
    }
    if (positions.size() == 0) return Status();
    TF_LS_RETURN_IF_ERROR(CheckRank(positions[0], 2, "positions"));
    const int64_t rows = positions[0].dim_size(0);
    TF_LS_RETURN_IF_ERROR(CheckShape(positions[0], {rows, hidden_size_}, "positions"));
    token_types_ = attributes.token_types;
    TF_LS_RETURN_IF_ERROR(CountPositions(rows, token_types_, &max_length_));
    stack_.positions = device->Float(Kept(positions[0]), arena);
    return Status();
  }

  template <typename T>
  Status ReadLayers(tensorflow::OpKernelContext* context, const StackAttributes& attributes,
                    int64_t memory_size, DeviceContext<Device>* device, Arena* arena) {
    tensorflow::OpInputList weights;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &weights));
    const bool cross_attention = memory_size > 0;
    TF_LS_RETURN_IF_ERROR(CheckWeightCount(weights.size(), attributes.layers, cross_attention));
    std::vector<LayerOptions> options(attributes.layers, attributes.options);
    const int of_layer = WeightCount(cross_attention);
    for (int i = 0; i < attributes.layers; ++i) {
      options[i].hidden_size = hidden_size_;
      options[i].memory_size = memory_size;
      TF_LS_RETURN_IF_ERROR(
          CheckWeights(weights, i * of_layer, "layer " + std::to_string(i) + " ", &options[i]));
    }
    pointers_.resize(weights.size());
    for (int i = 0; i < weights.size(); ++i) {
      const std::string what =
          "weight " + std::to_string(i % of_layer) + " of layer " + std::to_string(i / of_layer);
      TF_LS_RETURN_IF_ERROR(
          AddPiece<T>(weights[i], /*transposed=*/false, what, device, arena, &pointers_[i]));
    }
    for (int i = 0; i < attributes.layers; ++i)
      stack_.layers.push_back({options[i], pointers_.data() + i * of_layer});
    return Status();
  }

  Status KeepNumbers(const Tensor& tensor, bool transposed, const std::string& what,
                     AnyNumbers* numbers) {
    Tensor scales;
    TF_LS_RETURN_IF_ERROR(scales_.NumbersOf(tensor, transposed, what, numbers, &scales));
    Kept(tensor);
    if (tensor.dtype() == tensorflow::DT_INT8) Kept(scales);
    return Status();
  }

  const Tensor& Kept(const Tensor& tensor) {
    tensors_.push_back(tensor);
    return tensor;
  }

  const float* Sinusoids(int64_t count, DeviceContext<Device>* device, Arena* arena) const {
    float* const signal = arena->Allocate<float>(count * hidden_size_);
    SinusoidalPositions(device->device(), 0, count, hidden_size_, signal);
    return signal;
  }

  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  Int8Scales scales_;
  LayerStack stack_;
  tensorflow::DataType type_ = tensorflow::DT_INVALID;
  int64_t vocab_size_ = 0;
  int64_t hidden_size_ = 0;
  int64_t max_length_ = kUnlimited;
  int token_types_ = 1;
  int64_t kept_positions_ = kUnlimited;  // sinusoids; longer sentences have others made
  std::vector<WeightPiece> pieces_;
  std::vector<const float*> pointers_;  // to the layers' weights
  typename DeviceContext<Device>::LoopWeights loop_weights_;
  std::vector<Tensor> tensors_;
  std::vector<std::shared_ptr<void>> memory_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_PACKED_STACK_H_
