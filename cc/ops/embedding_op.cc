#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "cc/kernels/embedding.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/token_inputs.h"
#include "cc/ops/token_types.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Where the inputs that both operations have in common begin, and how long their lists are.
struct InputPlaces {
  int ids, indices_count, types_count, positions_count;

  int indices() const { return ids + 1; }
  int types() const { return indices() + indices_count; }
  int table() const { return types() + types_count; }
  int positions() const { return table() + 1; }
  int start() const { return positions() + positions_count; }
  int seed() const { return start() + 1; }
};

// Checks what is known of the inputs, and the shape that the embedded rows have.
Status EmbeddedShape(InferenceContext* c, int first, InputPlaces* places, ShapeHandle* embedded) {
  places->ids = first;
  TF_LS_RETURN_IF_ERROR(c->GetAttr("N", &places->indices_count));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("K", &places->types_count));
  TF_LS_RETURN_IF_ERROR(c->GetAttr("P", &places->positions_count));
  if (places->indices_count > 1 || places->positions_count > 1) {
    return InvalidArgument("there is at most one tensor of indices and one of positions, got ",
                           places->indices_count, " and ", places->positions_count);
  }
  ShapeHandle ids, indices, table, positions, ignored;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(places->ids), 2, &ids));
  TF_LS_RETURN_IF_ERROR(CheckTypeShapes(c, places->types(), ids));
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(places->table()), 2, &table));
  int token_types;
  TF_LS_RETURN_IF_ERROR(ReadTokenTypes(c, &token_types));
  DimensionHandle hidden = c->Dim(table, 1);
  if (places->positions_count > 0) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(places->positions()), 2, &positions));
    TF_LS_RETURN_IF_ERROR(c->Merge(hidden, c->Dim(positions, 1), &hidden));
    TF_LS_RETURN_IF_ERROR(CheckTypedPositions(c, places->positions(), token_types));
  }
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(places->start()), 0, &ignored));
  TF_LS_RETURN_IF_ERROR(c->Merge(c->input(places->seed()), c->Vector(2), &ignored));
  if (places->indices_count == 0) {
    *embedded = c->MakeShape({c->Dim(ids, 0), c->Dim(ids, 1), hidden});
    return Status();
  }
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(places->indices()), 1, &indices));
  *embedded = c->Matrix(c->Dim(indices, 0), hidden);
  return Status();
}

// Tokens of sentences [B, L], with `indices` those of a row layout, looked up in `table`, times
// `scale`, plus the timing signal if `sinusoids`, or a row of `positions` if there are some (of
// those of the token's type, see token_types.h); then dropout. The first position of a sentence is
// `start`: int64, because TensorFlow takes an int32 behind an empty list of inputs for one in a
// GPU's memory when operations run eagerly.
REGISTER_OP("LSEmbedding")
    .Input("ids: int64")
    .Input("indices: N * int32")
    .Input("types: K * int64")
    .Input("table: W")
    .Input("positions: P * W")
    .Input("start: int64")
    .Input("seed: int64")
    .Output("y: T")
    .Attr("N: int >= 0")
    .Attr("K: int >= 0 = 0")
    .Attr("P: int >= 0")
    .Attr("W: {float, half, bfloat16}")
    .Attr("T: {float, half, bfloat16}")
    .Attr("scale: float = 1.0")
    .Attr("token_types: int >= 1 = 1")
    .Attr("sinusoids: bool = false")
    .Attr("dropout: float = 0.0")
    // What the gradient of `table` is to be.
    .Attr("sparse_gradient: bool = true")
    .SetShapeFn([](InferenceContext* c) {
      InputPlaces places;
      ShapeHandle embedded;
      TF_LS_RETURN_IF_ERROR(EmbeddedShape(c, 0, &places, &embedded));
      c->set_output(0, embedded);
      return Status();
    });

// dtable: a row for each token, whose id is in `rows`, if `sparse_gradient`; else of table's shape,
// and `rows` is empty.
REGISTER_OP("LSEmbeddingGrad")
    .Input("dy: T")
    .Input("ids: int64")
    .Input("indices: N * int32")
    .Input("types: K * int64")
    .Input("table: W")
    .Input("positions: P * W")
    .Input("start: int64")
    .Input("seed: int64")
    .Output("dtable: W")
    .Output("rows: int64")
    .Output("dpositions: P * W")
    .Attr("N: int >= 0")
    .Attr("K: int >= 0 = 0")
    .Attr("P: int >= 0")
    .Attr("W: {float, half, bfloat16}")
    .Attr("T: {float, half, bfloat16}")
    .Attr("scale: float = 1.0")
    .Attr("token_types: int >= 1 = 1")
    .Attr("dropout: float = 0.0")
    .Attr("sparse_gradient: bool = true")
    .SetShapeFn([](InferenceContext* c) {
      InputPlaces places;
      ShapeHandle embedded;
      bool sparse;
      TF_LS_RETURN_IF_ERROR(EmbeddedShape(c, 1, &places, &embedded));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->input(0), embedded, &embedded));
      TF_LS_RETURN_IF_ERROR(c->GetAttr("sparse_gradient", &sparse));
      const ShapeHandle table = c->input(places.table());
      const DimensionHandle tokens =
          sparse ? c->UnknownDim()
                 : c->MakeDim(tensorflow::shape_inference::DimensionOrConstant(0));
      c->set_output(0, sparse ? c->Matrix(tokens, c->Dim(table, 1)) : table);
      c->set_output(1, c->Vector(tokens));
      if (places.positions_count > 0) c->set_output(2, c->input(places.positions()));
      return Status();
    });

// The inputs that both operations have in common, checked.
class EmbeddingInputs {
 public:
  template <typename Device>
  Status Read(OpKernelContext* context, int token_types, DeviceContext<Device>* device) {
    OpInputList indices, positions;
    TF_LS_RETURN_IF_ERROR(context->input("ids", &ids_));
    TF_LS_RETURN_IF_ERROR(context->input("table", &table_));
    TF_LS_RETURN_IF_ERROR(context->input_list("indices", &indices));
    TF_LS_RETURN_IF_ERROR(context->input_list("positions", &positions));
    TF_LS_RETURN_IF_ERROR(CheckRank(*ids_, 2, "ids"));
    TF_LS_RETURN_IF_ERROR(CheckRank(*table_, 2, "table"));
    source_ = {ids_->flat<int64_t>().data(), ids_->NumElements(), ids_->dim_size(1),
               ids_->NumElements(), nullptr};
    of_a_layout_ = indices.size() > 0;
    if (of_a_layout_) {
      TF_LS_RETURN_IF_ERROR(CheckRank(indices[0], 1, "indices"));
      source_.rows = indices[0].dim_size(0);
      source_.indices = indices[0].flat<int32_t>().data();
    }
    TF_LS_RETURN_IF_ERROR(ReadStart(context));
    int64_t position_rows = std::numeric_limits<int64_t>::max();
    if (positions.size() > 0) {
      positions_ = &positions[0];
      TF_LS_RETURN_IF_ERROR(CheckRank(*positions_, 2, "positions"));
      const int64_t rows = positions_->dim_size(0);
      TF_LS_RETURN_IF_ERROR(CheckShape(*positions_, {rows, hidden_size()}, "positions"));
      TF_LS_RETURN_IF_ERROR(CountPositions(rows, token_types, &position_rows));
      if (start_ > position_rows) {
        return InvalidArgument("the table of positions has ", position_rows, " rows, but start is ",
                               start_);
      }
    }
    TF_LS_RETURN_IF_ERROR(
        ReadTokens(source_, vocab_size(), start_, position_rows, &row_ids_, &row_positions_));
    TF_LS_RETURN_IF_ERROR(AddTokenTypes(context, ids_->shape(), source_, token_types, position_rows,
                                        &row_positions_));
    rows_ = {source_.rows, row_ids_.data(), row_positions_.data()};
    device->Bring({{&rows_.ids, source_.rows}, {&rows_.positions, source_.rows}});
    return Status();
  }

  // [R, H] if there are indices, else [B, L, H].
  tensorflow::TensorShape EmbeddedShape() const {
    if (of_a_layout_) return {source_.rows, hidden_size()};
    return {ids_->dim_size(0), length(), hidden_size()};
  }

  const Tensor& table() const { return *table_; }
  const Tensor* positions() const { return positions_; }  // null if there are none
  // Where kernels read them, and the same ids on the host.
  const TokenRows& rows() const { return rows_; }
  const std::vector<int32_t>& row_ids() const { return row_ids_; }
  int64_t start() const { return start_; }
  int64_t length() const { return ids_->dim_size(1); }
  int64_t vocab_size() const { return table_->dim_size(0); }
  int64_t hidden_size() const { return table_->dim_size(1); }

 private:
  Status ReadStart(OpKernelContext* context) {
    const Tensor* start;
    TF_LS_RETURN_IF_ERROR(context->input("start", &start));
    TF_LS_RETURN_IF_ERROR(CheckShape(*start, {}, "start"));
    start_ = start->scalar<int64_t>()();
    if (start_ >= 0) return Status();
    return InvalidArgument("start must not be negative, got ", start_);
  }

  const Tensor* ids_;
  const Tensor* table_;
  const Tensor* positions_ = nullptr;
  bool of_a_layout_;
  TokenSource source_;
  std::vector<int32_t> row_ids_;
  std::vector<int32_t> row_positions_;
  TokenRows rows_;
  int64_t start_;
};

struct EmbeddingOptions {
  float scale;
  int token_types;
  Dropout dropout;

  explicit EmbeddingOptions(OpKernelConstruction* construction) {
    dropout.site = DropoutSite::kEmbedding;
    OP_REQUIRES_OK(construction, construction->GetAttr("scale", &scale));
    OP_REQUIRES_OK(construction, ReadTokenTypes(construction, &token_types));
    OP_REQUIRES_OK(construction, construction->GetAttr("dropout", &dropout.rate));
    OP_REQUIRES(construction, dropout.rate >= 0.0f && dropout.rate < 1.0f,
                InvalidArgument("dropout must be in [0, 1), got ", dropout.rate));
  }

  Status ReadDropout(OpKernelContext* context, Dropout* with_seed) const {
    const Tensor* seed;
    TF_LS_RETURN_IF_ERROR(context->input("seed", &seed));
    *with_seed = dropout;
    return ReadSeed(*seed, &with_seed->seed);
  }
};

template <typename Device, typename TensorType>
class EmbeddingOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit EmbeddingOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction), options_(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("sinusoids", &sinusoids_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    EmbeddingInputs inputs;
    Dropout dropout;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, options_.token_types, device));
    TF_LS_RETURN_IF_ERROR(options_.ReadDropout(context, &dropout));
    const int64_t hidden = inputs.hidden_size();
    const float* positions = nullptr;
    if (inputs.positions() != nullptr) {
      if (sinusoids_) return InvalidArgument("positions are given, and sinusoids wanted too");
      positions = device->Float(*inputs.positions()) + inputs.start() * hidden;
    } else if (sinusoids_) {
      float* const signal =
          device->device().arena->template Allocate<float>(inputs.length() * hidden);
      SinusoidalPositions(device->device(), inputs.start(), inputs.length(), hidden, signal);
      positions = signal;
    }
    Tensor* output;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, inputs.EmbeddedShape(), &output));
    T* const y = device->template Write<T>(output);
    const auto embed = [&](const auto& table) {
      Embed(device->device(), inputs.rows(), dropout, options_.scale, table, positions, hidden, y);
    };
    std::visit(embed, NumbersOf(inputs.table()));
    return Status();
  }

 private:
  const EmbeddingOptions options_;
  bool sinusoids_;
};

template <typename Device, typename TensorType>
class EmbeddingGradOp : public DeviceKernel<Device> {
  using T = typename ComputeType<Device, TensorType>::type;

 public:
  explicit EmbeddingGradOp(OpKernelConstruction* construction)
      : DeviceKernel<Device>(construction), options_(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("sparse_gradient", &sparse_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    EmbeddingInputs inputs;
    Dropout dropout;
    TF_LS_RETURN_IF_ERROR(inputs.Read(context, options_.token_types, device));
    TF_LS_RETURN_IF_ERROR(options_.ReadDropout(context, &dropout));
    TF_LS_RETURN_IF_ERROR(CheckShape(context->input(0), inputs.EmbeddedShape(), "dy"));
    const T* const dy = device->template Read<T>(context->input(0));
    const TokenRows& rows = inputs.rows();
    const int64_t hidden = inputs.hidden_size();

    int64_t tokens = 0;
    if (sparse_) {
      tokens = std::count_if(inputs.row_ids().begin(), inputs.row_ids().end(),
                             [](int32_t id) { return id >= 0; });
    }
    Tensor *dtable, *row_ids;
    TF_LS_RETURN_IF_ERROR(
        context->allocate_output(0, {sparse_ ? tokens : inputs.vocab_size(), hidden}, &dtable));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {tokens}, &row_ids));
    float* const gradient = device->template Write<float>(dtable);
    if (sparse_) {
      std::copy_if(inputs.row_ids().begin(), inputs.row_ids().end(),
                   row_ids->flat<int64_t>().data(), [](int32_t id) { return id >= 0; });
      EmbedRowGradient<T>(device->device(), rows, dropout, options_.scale, dy, hidden, gradient);
    } else {
      EmbedTableGradient<T>(device->device(), rows, rows.ids, dropout, options_.scale, dy, hidden,
                            inputs.vocab_size(), gradient);
    }
    if (inputs.positions() == nullptr) return Status();

    // The rows before `start` are zero: keys begin there.
    Tensor* dpositions;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(2, inputs.positions()->shape(), &dpositions));
    float* const position_gradient = device->template Write<float>(dpositions);
    const int64_t before = inputs.start() * hidden;
    device->Clear(position_gradient, before * sizeof(float));
    EmbedTableGradient<T>(device->device(), rows, rows.positions, dropout, 1.0f, dy, hidden,
                          inputs.positions()->dim_size(0) - inputs.start(),
                          position_gradient + before);
    return Status();
  }

 private:
  const EmbeddingOptions options_;
  bool sparse_;
};

// Ids are checked on the host, also for GPUs.
TF_LS_REGISTER_FOR_FLOATS(
    "LSEmbedding", EmbeddingOp,
    .HostMemory("ids").HostMemory("indices").HostMemory("types").HostMemory("start").HostMemory(
        "seed"))
TF_LS_REGISTER_FOR_FLOATS("LSEmbeddingGrad", EmbeddingGradOp,
                          .HostMemory("ids")
                              .HostMemory("indices")
                              .HostMemory("types")
                              .HostMemory("start")
                              .HostMemory("seed")
                              .HostMemory("rows"))

}  // namespace
}  // namespace tf_ls
