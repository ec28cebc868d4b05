#ifndef TF_LS_CC_OPS_DECODER_INPUTS_H_
#define TF_LS_CC_OPS_DECODER_INPUTS_H_

#include "cc/ops/stack_inputs.h"

// What operations take of a decoder: a stack, and what logits are made by.
#define TF_LS_DECODER_INPUTS                                                        \
  .Input("table: table_type")                                                       \
      .Input("positions: P * W")                                                    \
      .Input("embedding_norm: E * W")                                               \
      .Input("norm: G * W")                                                         \
      .Input("output_weights: output_type")                                         \
      .Input("output_bias: O * W")                                                  \
      .Input("weights: weight_types")                                               \
      .Input("scales: S * float")                                                   \
          TF_LS_STACK_ATTRIBUTES.Attr("output_type: {float, half, bfloat16, int8}") \
      .Attr("O: int >= 0")

namespace tf_ls {

// The attributes as a kernel reads them, checked.
Status ReadDecoderAttributes(tensorflow::OpKernelConstruction* construction,
                             StackAttributes* attributes);

// The shape function's part of the same. The inputs begin with input `first`; memory_size is not
// looked at for a decoder without cross-attention.
Status CheckDecoderShapes(tensorflow::shape_inference::InferenceContext* context, int first,
                          bool cross_attention,
                          tensorflow::shape_inference::DimensionHandle memory_size);

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_DECODER_INPUTS_H_
