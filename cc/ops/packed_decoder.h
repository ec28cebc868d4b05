#ifndef TF_LS_CC_OPS_PACKED_DECODER_H_
#define TF_LS_CC_OPS_PACKED_DECODER_H_

#include "cc/decoding/generation_model.h"
#include "cc/ops/decoder_inputs.h"
#include "cc/ops/packed_stack.h"

namespace tf_ls {

// A decoder as the generation loop reads it, its weights prepared for products of one type.
template <typename Device>
class PackedDecoder {
 public:
  static constexpr char kName[] = "decoder";

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
  Status Read(tensorflow::OpKernelContext* context, const StackAttributes& attributes,
              int64_t memory_size, int64_t positions, DeviceContext<Device>* device) {
    using T = typename ComputeType<Device, TensorType>::type;
    TensorFlowArena arena(context, 0);
    memory_size_ = memory_size;
    TF_LS_RETURN_IF_ERROR(stack_.template Read<TensorType>(context, attributes, memory_size,
                                                           positions, device, &arena));
    TF_LS_RETURN_IF_ERROR(ReadOutput<T>(context, device, &arena));
    return stack_.template Prepare<T>(device, &arena);
  }

  tensorflow::DataType type() const { return stack_.type(); }
  int64_t vocab_size() const { return stack_.vocab_size(); }
  // 0: without cross-attention.
  int64_t memory_size() const { return memory_size_; }

  // What generates hypotheses of up to max_length tokens on the device, as long as `lasting` does.
  Status ForLength(int64_t max_length, DeviceContext<Device>* device, Arena* lasting,
                   GenerationModel* model) const {
    if (max_length > stack_.max_length()) {
      return tensorflow::errors::InvalidArgument(
          "the table of positions must have at least ", max_length,
          " rows, as many tokens as hypotheses may have, got ", stack_.max_length());
    }
    *model = {stack_.ForLength(max_length, device, lasting), output_};
    return Status();
  }

 private:
  template <typename T>
  Status ReadOutput(tensorflow::OpKernelContext* context, DeviceContext<Device>* device,
                    Arena* arena) {
    const tensorflow::Tensor* weights;
    tensorflow::OpInputList bias;
    TF_LS_RETURN_IF_ERROR(context->input("output_weights", &weights));
    TF_LS_RETURN_IF_ERROR(context->input_list("output_bias", &bias));
    const int64_t vocab_size = stack_.vocab_size(), hidden = stack_.hidden_size();
    TF_LS_RETURN_IF_ERROR(CheckShape(*weights, {vocab_size, hidden}, "output_weights"));
    for (const tensorflow::Tensor& part : bias)
      TF_LS_RETURN_IF_ERROR(CheckShape(part, {vocab_size}, "output_bias"));
    output_ = {nullptr, nullptr, hidden, vocab_size};
    TF_LS_RETURN_IF_ERROR(stack_.template AddPiece<T>(
        *weights, /*transposed=*/true, "output_weights", device, arena, &output_.weights));
    if (bias.size() == 0) return Status();
    return stack_.template AddPiece<T>(bias[0], /*transposed=*/false, "output_bias", device, arena,
                                       &output_.bias);
  }

  PackedStack<Device> stack_;
  OutputLayer output_ = {nullptr, nullptr, 0, 0};
  int64_t memory_size_ = 0;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_PACKED_DECODER_H_
