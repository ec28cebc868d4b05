#include "cc/ops/packed_decoder.h"
#include "cc/ops/packed_resource.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

TF_LS_REGISTER_PACKED_HANDLES("LSAnonymousPackedDecoder", "LSPackedDecoderHandle", PackedDecoder)

// Makes the handle stand for a decoder, in place of what it stood for before.
REGISTER_OP("LSPackDecoder")
    .Input("handle: resource") TF_LS_DECODER_INPUTS.Attr("T: {float, half, bfloat16}")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      int weights = 0, layers = 0;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      TF_LS_RETURN_IF_ERROR(ReadWeightCount(c, &weights));
      TF_LS_RETURN_IF_ERROR(c->GetAttr("num_layers", &layers));
      return CheckDecoderShapes(c, 1, HasCrossAttention(weights, layers), c->UnknownDim());
    });

template <typename Device, typename TensorType>
class PackDecoderOp : public DeviceKernel<Device> {
 public:
  explicit PackDecoderOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadDecoderAttributes(construction, &attributes_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    int64_t memory_size;
    TF_LS_RETURN_IF_ERROR(ReadMemorySize(context, &memory_size));
    auto decoder = std::make_shared<PackedDecoder<Device>>();
    TF_LS_RETURN_IF_ERROR(decoder->template Read<TensorType>(context, attributes_, memory_size,
                                                             kKeptPositions, device));
    return SetPacked<PackedDecoder<Device>>(context, std::move(decoder));
  }

 private:
  // What the first layer's keys and values are made of; 0 without cross-attention.
  Status ReadMemorySize(OpKernelContext* context, int64_t* memory_size) const {
    tensorflow::OpInputList weights;
    TF_LS_RETURN_IF_ERROR(context->input_list("weights", &weights));
    *memory_size = 0;
    if (!HasCrossAttention(weights.size(), attributes_.layers)) return Status();
    TF_LS_RETURN_IF_ERROR(CheckWeightCount(weights.size(), attributes_.layers, true));
    return tf_ls::ReadMemorySize(weights, memory_size);
  }

  StackAttributes attributes_;
};

TF_LS_REGISTER_FOR_FLOATS("LSPackDecoder", PackDecoderOp, .HostMemory("handle"))

}  // namespace
}  // namespace tf_ls
