#ifndef TF_LS_CC_OPS_DECODER_INPUTS_H_
#define TF_LS_CC_OPS_DECODER_INPUTS_H_

#include "cc/ops/checks.h"

// What operations take of a decoder: lists of weights, and attributes that say what they are.
#define TF_LS_DECODER_INPUTS                                                   \
  .Input("table: W")                                                           \
      .Input("positions: P * W")                                               \
      .Input("norm: G * W")                                                    \
      .Input("output_weights: W")                                              \
      .Input("output_bias: O * W")                                             \
      .Input("weights: N * W")                                                 \
      .Attr("W: {float, half, bfloat16} = DT_FLOAT")                           \
      .Attr("P: int >= 0")                                                     \
      .Attr("G: int >= 0")                                                     \
      .Attr("O: int >= 0")                                                     \
      .Attr("N: int >= 1")                                                     \
      .Attr("num_layers: int >= 1")                                            \
      .Attr("num_heads: int >= 1")                                             \
      .Attr("pre_norm: bool = true")                                           \
      .Attr("activation: {'relu', 'tanh', 'gelu', 'gelu_nonapprox'} = 'relu'") \
      .Attr("epsilon: float = 1e-6")                                           \
      .Attr("scale: float = 1.0")                                              \
      .Attr("sinusoids: bool = false")

namespace tf_ls {

// The attributes as a kernel reads them, checked: shape functions do not run eagerly.
struct DecoderAttributes {
  LayerOptions options;  // of all layers, without sizes
  int layers;
  float scale;
  bool sinusoids;

  Status Read(tensorflow::OpKernelConstruction* construction);
};

// The shape function's part of the same. The inputs begin with input `first`; memory_size is not
// looked at for a decoder without cross-attention.
Status CheckDecoderShapes(tensorflow::shape_inference::InferenceContext* context, int first,
                          bool cross_attention,
                          tensorflow::shape_inference::DimensionHandle memory_size);

// Whether so many weights are those of layers with cross-attention, if their number is right.
bool HasCrossAttention(int weights, int layers);
Status CheckWeightCount(int weights, int layers, bool cross_attention);

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_DECODER_INPUTS_H_
