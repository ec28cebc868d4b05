#include <cmath>
#include <vector>

#include "cc/ops/device_kernel.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::OpOutputList;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Packed rows come in multiples of this, so that compiled products and caches fit the next batch
// too.
constexpr int64_t kRowMultiple = 64;

// For each padding [batch, length], nonzero where a position is padding: where the rows of each
// sentence begin, how many there are, and which position each row comes from. Packed, padding has
// no rows; otherwise every position has one and padding must come last in its sentence.
REGISTER_OP("LSLayout")
    .Input("paddings: N * P")
    .Output("offsets: N * int32")
    .Output("lengths: N * int32")
    .Output("indices: N * int32")
    .Attr("N: int >= 1")
    .Attr("P: {float, half, bfloat16, int32, int64, bool}")
    .Attr("packed: bool")
    .SetShapeFn([](InferenceContext* c) {
      int count;
      TF_LS_RETURN_IF_ERROR(c->GetAttr("N", &count));
      for (int i = 0; i < count; ++i) {
        ShapeHandle padding;
        TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(i), 2, &padding));
        tensorflow::shape_inference::DimensionHandle starts;
        TF_LS_RETURN_IF_ERROR(c->Add(c->Dim(padding, 0), 1, &starts));
        c->set_output(i, c->Vector(starts));
        c->set_output(count + i, c->Vector(c->Dim(padding, 0)));
        c->set_output(2 * count + i, c->Vector(InferenceContext::kUnknownDim));
      }
      return Status();
    });

template <typename P>
bool IsNan(P value) {
  return std::isnan(static_cast<float>(value));
}

template <typename P>
class LayoutOp : public tensorflow::OpKernel {
 public:
  explicit LayoutOp(OpKernelConstruction* construction) : OpKernel(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("packed", &packed_));
  }

  void Compute(OpKernelContext* context) override {
    OpInputList paddings;
    OpOutputList offsets, lengths, indices;
    OP_REQUIRES_OK(context, context->input_list("paddings", &paddings));
    OP_REQUIRES_OK(context, context->output_list("offsets", &offsets));
    OP_REQUIRES_OK(context, context->output_list("lengths", &lengths));
    OP_REQUIRES_OK(context, context->output_list("indices", &indices));
    for (int i = 0; i < paddings.size(); ++i) {
      OP_REQUIRES_OK(context, MakeLayout(paddings[i], i, &offsets, &lengths, &indices));
    }
  }

 private:
  Status MakeLayout(const Tensor& padding, int i, OpOutputList* offsets, OpOutputList* lengths,
                    OpOutputList* indices) const {
    TF_LS_RETURN_IF_ERROR(CheckRank(padding, 2, "padding"));
    const int64_t batch = padding.dim_size(0);
    const int64_t length = padding.dim_size(1);
    const P* const values = padding.flat<P>().data();
    Tensor *offset, *count, *index;
    TF_LS_RETURN_IF_ERROR(offsets->allocate(i, {batch + 1}, &offset));
    TF_LS_RETURN_IF_ERROR(lengths->allocate(i, {batch}, &count));
    auto starts = offset->flat<int32_t>();
    auto sizes = count->flat<int32_t>();
    std::vector<int32_t> rows;
    rows.reserve(batch * length);
    starts(0) = 0;
    for (int64_t b = 0; b < batch; ++b) {
      int32_t seen = 0;
      for (int64_t l = 0; l < length; ++l) {
        const int64_t position = b * length + l;
        if (IsNan(values[position])) return InvalidArgument("padding is NaN at [", b, ", ", l, "]");
        const bool real = static_cast<float>(values[position]) == 0.0f;
        if (real && !packed_ && seen < l) {
          return InvalidArgument(
              "padding must come last in its sentence, got padding before position [", b, ", ", l,
              "]");
        }
        if (real) ++seen;
        if (real || !packed_) rows.push_back(position);
      }
      sizes(b) = seen;
      starts(b + 1) = rows.size();
    }
    const int64_t used = rows.size();
    const int64_t rounded =
        packed_ ? (used + kRowMultiple - 1) / kRowMultiple * kRowMultiple : used;
    TF_LS_RETURN_IF_ERROR(indices->allocate(i, {rounded}, &index));
    auto positions = index->flat<int32_t>();
    for (int64_t row = 0; row < rounded; ++row) positions(row) = row < used ? rows[row] : -1;
    return Status();
  }

  bool packed_;
};

// Layouts are made, and checked, on the host; beside a GPU too, so that nothing leaves its device.
#define TF_LS_REGISTER_LAYOUT(type)                                             \
  TF_LS_REGISTER_ON_CPU("LSLayout", .TypeConstraint<type>("P"), LayoutOp<type>) \
  TF_LS_REGISTER_ON_GPU("LSLayout",                                             \
                        .TypeConstraint<type>("P")                              \
                            .HostMemory("paddings")                             \
                            .HostMemory("offsets")                              \
                            .HostMemory("lengths")                              \
                            .HostMemory("indices"),                             \
                        LayoutOp<type>)
TF_LS_REGISTER_LAYOUT(float)
TF_LS_REGISTER_LAYOUT(Eigen::half)
TF_LS_REGISTER_LAYOUT(tensorflow::bfloat16)
TF_LS_REGISTER_LAYOUT(int32_t)
TF_LS_REGISTER_LAYOUT(int64_t)
TF_LS_REGISTER_LAYOUT(bool)
#undef TF_LS_REGISTER_LAYOUT

}  // namespace
}  // namespace tf_ls
