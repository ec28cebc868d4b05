#ifndef TF_LS_CC_OPS_STACK_INPUTS_H_
#define TF_LS_CC_OPS_STACK_INPUTS_H_

#include "cc/ops/checks.h"

// What operations take of a stack, an encoder or a decoder: lists of weights, and attributes that
// say what they are. Inputs are "table" (table_type), "positions" (P * W), and the norms of the
// embedding and of the end, "embedding_norm" (E * W) and "norm" (G * W); "weights" (weight_types)
// and "scales" (S * float, see Int8Scales).
#define TF_LS_STACK_ATTRIBUTES                                                         \
  .Attr("W: {float, half, bfloat16} = DT_FLOAT")                                       \
      .Attr("table_type: {float, half, bfloat16, int8}")                               \
      .Attr("P: int >= 0")                                                             \
      .Attr("E: int >= 0 = 0")                                                         \
      .Attr("G: int >= 0")                                                             \
      .Attr("weight_types: list({float, half, bfloat16, int8}) >= 1")                  \
      .Attr("S: int >= 0")                                                             \
      .Attr("num_layers: int >= 1")                                                    \
      .Attr("num_heads: int >= 1")                                                     \
      .Attr("pre_norm: bool = true")                                                   \
      .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox', 'silu'} = 'relu'") \
      .Attr("epsilon: float = 1e-6")                                                   \
      .Attr("scale: float = 1.0")                                                      \
      .Attr("sinusoids: bool = false")

namespace tf_ls {

// The attributes as a kernel reads them, checked: shape functions do not run eagerly.
struct StackAttributes {
  LayerOptions options;  // of all layers, without sizes
  int layers;
  float scale;
  bool sinusoids;
  int token_types;  // of an encoder; 1 of a decoder

  Status Read(tensorflow::OpKernelConstruction* construction);
};

// The shape function's part: of table, positions and norms, which begin with input `*next`, and are
// followed by it in the end.
Status CheckEndShapes(tensorflow::shape_inference::InferenceContext* context, int* next,
                      tensorflow::shape_inference::ShapeHandle* table);

// And of the layers' weights and all scales, the last inputs, which begin with input `first`;
// memory_size is not looked at without cross-attention.
Status CheckLayerShapes(tensorflow::shape_inference::InferenceContext* context, int first,
                        tensorflow::shape_inference::DimensionHandle hidden, bool cross_attention,
                        tensorflow::shape_inference::DimensionHandle memory_size);

// How many weights the layers have, as the attributes say.
template <typename Context>
Status ReadWeightCount(Context* context, int* count) {
  tensorflow::DataTypeVector types;
  TF_LS_RETURN_IF_ERROR(context->GetAttr("weight_types", &types));
  *count = static_cast<int>(types.size());
  return Status();
}

// Whether so many weights are those of layers with cross-attention, if their number is right.
bool HasCrossAttention(int weights, int layers);
Status CheckWeightCount(int weights, int layers, bool cross_attention);

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_STACK_INPUTS_H_
