#include "cc/ops/packed_encoder.h"
#include "cc/ops/packed_resource.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

TF_LS_REGISTER_PACKED_HANDLES("LSAnonymousPackedEncoder", "LSPackedEncoderHandle", PackedEncoder)

// Makes the handle stand for an encoder, in place of what it stood for before.
REGISTER_OP("LSPackEncoder")
    .Input("handle: resource")
    .Input("table: table_type")
    .Input("positions: P * W")
    .Input("embedding_norm: E * W")
    .Input("norm: G * W")
    .Input("weights: weight_types")
    .Input("scales: S * float") TF_LS_STACK_ATTRIBUTES.Attr("causal: bool = false")
    .Attr("token_types: int >= 1 = 1")
    .Attr("T: {float, half, bfloat16}")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar, table;
      constexpr int kPositions = 2;
      int next = 1, token_types;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      TF_LS_RETURN_IF_ERROR(CheckEndShapes(c, &next, &table));
      TF_LS_RETURN_IF_ERROR(ReadTokenTypes(c, &token_types));
      if (token_types > 1) TF_LS_RETURN_IF_ERROR(CheckTypedPositions(c, kPositions, token_types));
      return CheckLayerShapes(c, next, c->Dim(table, 1), /*cross_attention=*/false,
                              c->UnknownDim());
    });

template <typename Device, typename TensorType>
class PackEncoderOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit PackEncoderOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, attributes_.Read(construction));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    TensorFlowArena arena(context, 0);
    auto encoder = std::make_shared<PackedEncoder<Device>>();
    TF_LS_RETURN_IF_ERROR(encoder->template Read<TensorType>(
        context, attributes_, /*memory_size=*/0, kKeptPositions, device, &arena));
    TF_LS_RETURN_IF_ERROR(encoder->template Prepare<T>(device, &arena));
    return SetPacked<PackedEncoder<Device>>(context, std::move(encoder));
  }

 private:
  StackAttributes attributes_;
};

TF_LS_REGISTER_FOR_FLOATS("LSPackEncoder", PackEncoderOp, .HostMemory("handle"))

}  // namespace
}  // namespace tf_ls
