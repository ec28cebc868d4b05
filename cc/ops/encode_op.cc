#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "cc/kernels/pack.h"
#include "cc/layers/encoder.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/packed_encoder.h"
#include "cc/ops/packed_resource.h"
#include "cc/ops/token_inputs.h"
#include "cc/ops/token_types.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Sentences' tokens, where padding (anywhere) is not true, and what an encoder makes of them, side
// by side, with zeros behind them. `types`: see token_types.h. `encoder`: a handle that
// LSPackEncoder has filled.
REGISTER_OP("LSEncodePacked")
    .Input("ids: int64")
    .Input("padding: bool")
    .Input("types: K * int64")
    .Input("encoder: resource")
    .Output("memory: T")
    .Output("lengths: int64")
    .Attr("T: {float, half, bfloat16}")
    .Attr("K: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle ids, scalar;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &ids));
      TF_LS_RETURN_IF_ERROR(c->Merge(ids, c->input(1), &ids));
      TF_LS_RETURN_IF_ERROR(CheckTypeShapes(c, 2, ids));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(c->num_inputs() - 1), 0, &scalar));
      c->set_output(0, c->MakeShape({c->Dim(ids, 0), c->Dim(ids, 1), c->UnknownDim()}));
      c->set_output(1, c->Vector(c->Dim(ids, 0)));
      return Status();
    });

// A batch without its padding. Its rows come in multiples of a number, so that few products have to
// be compiled.
struct Unpadded {
  Unpadded(const bool* padding, int64_t batch, int64_t length, int64_t row_multiple) {
    from.reserve(batch * length);
    to.reserve(batch * length);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = b * length; i < (b + 1) * length; ++i) {
        if (padding[i]) continue;
        to.push_back(static_cast<int32_t>(b * length + from.size() - offsets.back()));
        from.push_back(static_cast<int32_t>(i));
      }
      lengths.push_back(static_cast<int32_t>(from.size()) - offsets.back());
      offsets.push_back(static_cast<int32_t>(from.size()));
    }
    const size_t rows = (from.size() + row_multiple - 1) / row_multiple * row_multiple;
    from.resize(rows, -1);
    to.resize(rows, -1);
  }
  int64_t rows() const { return static_cast<int64_t>(from.size()); }

  std::vector<int32_t> offsets = {0};  // as Sentences has them
  std::vector<int32_t> lengths;
  std::vector<int32_t> from;  // [rows]: which token of [batch, length], -1 for none
  std::vector<int32_t> to;    // where it comes to lie in [batch, length]
};

template <typename Device, typename TensorType>
class EncodePackedOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  using DeviceKernel<Device>::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    const Tensor& ids = context->input(0);
    const Tensor& padding = context->input(1);
    TF_LS_RETURN_IF_ERROR(CheckRank(ids, 2, "ids"));
    TF_LS_RETURN_IF_ERROR(CheckShape(padding, ids.shape(), "padding"));
    if (ids.NumElements() > std::numeric_limits<int32_t>::max()) {
      return InvalidArgument("there are ", ids.NumElements(), " ids, more than rows are counted");
    }
    constexpr auto kType = tensorflow::DataTypeToEnum<TensorType>::value;
    std::shared_ptr<const PackedEncoder<Device>> encoder;
    TF_LS_RETURN_IF_ERROR(GetPacked(context, "encoder", kType, &encoder));
    const int64_t batch = ids.dim_size(0), length = ids.dim_size(1);
    const Unpadded unpadded(padding.flat<bool>().data(), batch, length,
                            DeviceContext<Device>::kRowMultiple);
    std::vector<int32_t> row_ids, row_positions;
    const TokenSource source = {ids.flat<int64_t>().data(), ids.NumElements(), length,
                                unpadded.rows(), unpadded.from.data()};
    TF_LS_RETURN_IF_ERROR(ReadTokens(source, encoder->vocab_size(), /*start=*/0,
                                     encoder->max_length(), &row_ids, &row_positions));
    TF_LS_RETURN_IF_ERROR(AddTokenTypes(context, ids.shape(), source, encoder->token_types(),
                                        encoder->max_length(), &row_positions));
    Tensor *memory, *lengths;
    TF_LS_RETURN_IF_ERROR(
        context->allocate_output(0, {batch, length, encoder->hidden_size()}, &memory));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {batch}, &lengths));
    for (int64_t b = 0; b < batch; ++b) lengths->vec<int64_t>()(b) = unpadded.lengths[b];
    const NewMemory new_memory = [context](size_t bytes) {
      return NewTensorFlowMemory(context, bytes);
    };
    Encode(*encoder, unpadded, row_ids, row_positions, length, new_memory, device, memory);
    return Status();
  }

 private:
  static void Encode(const PackedEncoder<Device>& encoder, const Unpadded& unpadded,
                     const std::vector<int32_t>& ids, const std::vector<int32_t>& positions,
                     int64_t length, const NewMemory& new_memory, DeviceContext<Device>* device,
                     Tensor* memory) {
    const int64_t rows = unpadded.rows(), hidden = encoder.hidden_size();
    const auto sentences = static_cast<int64_t>(unpadded.lengths.size());
    TokenRows tokens = {rows, ids.data(), positions.data()};
    Sentences places = {unpadded.offsets.data(), unpadded.lengths.data(), sentences, rows};
    const int32_t* to = unpadded.to.data();
    const LayerStack stack = encoder.ForLength(length, device, device->device().arena);
    const auto run = [&](const Device& on, const auto& encode) {
      device->Bring({{&tokens.ids, rows},
                     {&tokens.positions, rows},
                     {&places.offsets, sentences + 1},
                     {&places.lengths, sentences},
                     {&to, rows}},
                    on.arena);
      T* const y = on.arena->template Allocate<T>(rows * hidden);
      encode([&](const Device& launched) { tf_ls::Encode(launched, stack, tokens, places, y); });
      UnpackRows(on, y, to, rows, hidden * sizeof(T), sentences * length,
                 device->template Write<T>(memory));
    };
    encoder.launcher().Run(device->device(), {rows, sentences, stack.positions}, new_memory, run);
  }
};

TF_LS_REGISTER_FOR_FLOATS(
    "LSEncodePacked", EncodePackedOp,
    .HostMemory("ids").HostMemory("padding").HostMemory("types").HostMemory("encoder").HostMemory(
        "lengths"))

}  // namespace
}  // namespace tf_ls
