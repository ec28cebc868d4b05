#include "cc/ops/checks.h"

#include <cmath>
#include <numeric>

namespace tf_ls {
namespace {

using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Sizes that weights' dimensions are multiples of.
enum class Size { kHidden, kFilter, kMemory };

struct Dimension {
  Size size;
  int64_t factor;
};

struct WeightSpec {
  const char* name;
  std::vector<Dimension> dimensions;
};

constexpr Dimension kH = {Size::kHidden, 1};
constexpr Dimension kF = {Size::kFilter, 1};
constexpr Dimension kM = {Size::kMemory, 1};

std::vector<WeightSpec> WeightSpecs(bool cross_attention) {
  std::vector<WeightSpec> specs = {
      {"self-attention ln gamma", {kH}},
      {"self-attention ln beta", {kH}},
      {"self-attention qkv kernel", {kH, {Size::kHidden, 3}}},
      {"self-attention qkv bias", {{Size::kHidden, 3}}},
      {"self-attention output kernel", {kH, kH}},
      {"self-attention output bias", {kH}},
  };
  if (cross_attention) {
    specs.insert(specs.end(), {
                                  {"cross-attention ln gamma", {kH}},
                                  {"cross-attention ln beta", {kH}},
                                  {"cross-attention q kernel", {kH, kH}},
                                  {"cross-attention q bias", {kH}},
                                  {"cross-attention kv kernel", {kM, {Size::kHidden, 2}}},
                                  {"cross-attention kv bias", {{Size::kHidden, 2}}},
                                  {"cross-attention output kernel", {kH, kH}},
                                  {"cross-attention output bias", {kH}},
                              });
  }
  specs.insert(specs.end(), {
                                {"ffn ln gamma", {kH}},
                                {"ffn ln beta", {kH}},
                                {"ffn dense1 kernel", {kH, kF}},
                                {"ffn dense1 bias", {kF}},
                                {"ffn dense2 kernel", {kF, kH}},
                                {"ffn dense2 bias", {kH}},
                            });
  return specs;
}

// Position of "ffn dense1 kernel", whose second dimension is filter_size.
int Dense1Kernel(int count) { return count - 4; }

Status CheckCount(int count, int expected) {
  if (count == expected) return Status();
  return InvalidArgument("expected ", expected, " weights, got ", count);
}

Status ReadRate(tensorflow::OpKernelConstruction* construction, const char* name, float* rate) {
  TF_LS_RETURN_IF_ERROR(construction->GetAttr(name, rate));
  if (*rate >= 0.0f && *rate < 1.0f) return Status();
  return InvalidArgument(name, " must be in [0, 1), got ", *rate);
}

}  // namespace

Status ReadSentences(const Tensor& offsets, const Tensor& lengths, int64_t rows,
                     const std::string& what, Sentences* sentences) {
  if (offsets.dims() != 1 || offsets.dim_size(0) < 1) {
    return InvalidArgument(what, " offsets must be a vector of at least one number, got shape ",
                           offsets.shape().DebugString());
  }
  const int64_t count = offsets.dim_size(0) - 1;
  TF_LS_RETURN_IF_ERROR(CheckShape(lengths, {count}, what + " lengths"));
  const int32_t* const starts = offsets.flat<int32_t>().data();
  const int32_t* const sizes = lengths.flat<int32_t>().data();
  if (starts[0] != 0) return InvalidArgument(what, " offsets must start at 0, got ", starts[0]);
  for (int64_t i = 0; i < count; ++i) {
    if (starts[i + 1] < starts[i]) {
      return InvalidArgument(what, " offsets must not decrease, got ", starts[i], " and then ",
                             starts[i + 1]);
    }
    if (sizes[i] < 0 || sizes[i] > starts[i + 1] - starts[i]) {
      return InvalidArgument(what, " length ", i, " must be from 0 to its ",
                             starts[i + 1] - starts[i], " rows, got ", sizes[i]);
    }
  }
  if (starts[count] > rows) {
    return InvalidArgument(what, " offsets end at ", starts[count], ", but there are ", rows,
                           " rows");
  }
  *sentences = {starts, sizes, count, rows};
  return Status();
}

Status ReadSeed(const Tensor& seed, uint64_t* value) {
  TF_LS_RETURN_IF_ERROR(CheckShape(seed, {2}, "seed"));
  const auto words = seed.flat<int64_t>();
  // An odd multiplier, so that both words matter and no two seeds with one equal word collide.
  *value = static_cast<uint64_t>(words(0)) + 0x9E3779B97F4A7C15u * static_cast<uint64_t>(words(1));
  return Status();
}

Status ReadLag(const Tensor& tensor, int64_t* lag) {
  TF_LS_RETURN_IF_ERROR(CheckShape(tensor, {}, "memory_lag"));
  *lag = tensor.scalar<int32_t>()();
  if (*lag >= 0) return Status();
  return InvalidArgument("memory_lag must not be negative, got ", *lag);
}

Status ReadBatchAndLength(const Tensor& tensor, int64_t* batch, int64_t* length) {
  TF_LS_RETURN_IF_ERROR(CheckShape(tensor, {2}, "batch_and_length"));
  const auto sizes = tensor.flat<int32_t>();
  *batch = sizes(0);
  *length = sizes(1);
  if (*batch >= 0 && *length >= 0) return Status();
  return InvalidArgument("batch_and_length must not be negative, got [", *batch, ", ", *length,
                         "]");
}

Status CheckRank(const Tensor& tensor, int rank, const std::string& what) {
  if (tensor.dims() == rank) return Status();
  return InvalidArgument(what, " must have rank ", rank, ", got shape ",
                         tensor.shape().DebugString());
}

Status CheckShape(const Tensor& tensor, const TensorShape& shape, const std::string& what) {
  if (tensor.shape() == shape) return Status();
  return InvalidArgument(what, " must have shape ", shape.DebugString(), ", got ",
                         tensor.shape().DebugString());
}

Status ReadLayerOptions(tensorflow::OpKernelConstruction* construction, LayerOptions* options) {
  TF_LS_RETURN_IF_ERROR(construction->GetAttr("num_heads", &options->num_heads));
  TF_LS_RETURN_IF_ERROR(construction->GetAttr("pre_norm", &options->pre_norm));
  TF_LS_RETURN_IF_ERROR(construction->GetAttr("epsilon", &options->epsilon));
  if (!(options->epsilon > 0.0f) || !std::isfinite(options->epsilon)) {
    return InvalidArgument("epsilon must be positive, got ", options->epsilon);
  }
  std::string activation;
  TF_LS_RETURN_IF_ERROR(construction->GetAttr("activation", &activation));
  if (activation == "relu") {
    options->activation = Activation::kRelu;
  } else if (activation == "tanh") {
    options->activation = Activation::kTanh;
  } else if (activation == "gelu") {
    options->activation = Activation::kGelu;
  } else if (activation == "gelu_nonapprox") {
    options->activation = Activation::kGeluErf;
  } else {
    options->activation = Activation::kSilu;  // the registration allows no other
  }
  if (construction->HasAttr("causal"))
    TF_LS_RETURN_IF_ERROR(construction->GetAttr("causal", &options->causal));
  if (!construction->HasAttr("attention_dropout")) return Status();
  TF_LS_RETURN_IF_ERROR(ReadRate(construction, "attention_dropout", &options->attention_dropout));
  TF_LS_RETURN_IF_ERROR(ReadRate(construction, "activation_dropout", &options->activation_dropout));
  return ReadRate(construction, "residual_dropout", &options->residual_dropout);
}

int WeightCount(bool cross_attention) {
  return static_cast<int>(WeightSpecs(cross_attention).size());
}

Status ReadMemorySize(const tensorflow::OpInputList& weights, int64_t* memory_size) {
  const std::vector<WeightSpec> specs = WeightSpecs(/*cross_attention=*/true);
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].dimensions[0].size != Size::kMemory) continue;
    TF_LS_RETURN_IF_ERROR(CheckRank(weights[i], 2, specs[i].name));
    *memory_size = weights[i].dim_size(0);
    if (*memory_size > 0) return Status();
    return InvalidArgument(specs[i].name, " must have rows, got ",
                           weights[i].shape().DebugString());
  }
  return Status();
}

Status CheckWeights(const tensorflow::OpInputList& weights, LayerOptions* options) {
  TF_LS_RETURN_IF_ERROR(CheckCount(weights.size(), WeightCount(options->memory_size > 0)));
  return CheckWeights(weights, /*first=*/0, /*layer=*/"", options);
}

Status CheckWeights(const tensorflow::OpInputList& weights, int first, const std::string& layer,
                    LayerOptions* options) {
  const std::vector<WeightSpec> specs = WeightSpecs(options->memory_size > 0);
  if (options->hidden_size < 1 || options->hidden_size % options->num_heads != 0) {
    return InvalidArgument("the hidden size must be a positive multiple of the ",
                           options->num_heads, " heads, got ", options->hidden_size);
  }
  const Tensor& dense1 = weights[first + Dense1Kernel(specs.size())];
  TF_LS_RETURN_IF_ERROR(CheckRank(dense1, 2, layer + "ffn dense1 kernel"));
  options->filter_size = dense1.dim_size(1);
  if (options->filter_size < 1) {
    return InvalidArgument(layer, "ffn dense1 kernel must have columns, got ",
                           dense1.shape().DebugString());
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    TensorShape expected;
    for (const Dimension& dimension : specs[i].dimensions) {
      const int64_t size = dimension.size == Size::kHidden   ? options->hidden_size
                           : dimension.size == Size::kFilter ? options->filter_size
                                                             : options->memory_size;
      expected.AddDim(size * dimension.factor);
    }
    TF_LS_RETURN_IF_ERROR(CheckShape(weights[first + i], expected, layer + specs[i].name));
  }
  return Status();
}

Status CheckWeightShapes(InferenceContext* context, int first_weight, int count,
                         DimensionHandle hidden, bool cross_attention, DimensionHandle memory) {
  const std::vector<WeightSpec> specs = WeightSpecs(cross_attention);
  TF_LS_RETURN_IF_ERROR(CheckCount(count, specs.size()));
  ShapeHandle dense1;
  TF_LS_RETURN_IF_ERROR(
      context->WithRank(context->input(first_weight + Dense1Kernel(count)), 2, &dense1));
  const DimensionHandle filter = context->Dim(dense1, 1);
  for (size_t i = 0; i < specs.size(); ++i) {
    std::vector<DimensionHandle> dimensions;
    for (const Dimension& dimension : specs[i].dimensions) {
      DimensionHandle size = dimension.size == Size::kHidden   ? hidden
                             : dimension.size == Size::kFilter ? filter
                                                               : memory;
      TF_LS_RETURN_IF_ERROR(context->Multiply(size, dimension.factor, &size));
      dimensions.push_back(size);
    }
    ShapeHandle merged;
    const ShapeHandle expected = context->MakeShape(dimensions);
    const ShapeHandle actual = context->input(first_weight + i);
    if (!context->Merge(actual, expected, &merged).ok()) {
      return InvalidArgument(specs[i].name, " must have shape ", context->DebugString(expected),
                             ", got ", context->DebugString(actual));
    }
  }
  return Status();
}

}  // namespace tf_ls
