#ifndef TF_LS_CC_OPS_CHECKS_H_
#define TF_LS_CC_OPS_CHECKS_H_

#include <string>
#include <vector>

#include "cc/kernels/attention.h"
#include "cc/layers/layer_options.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

// Checks of inputs. What is wrong is reported as InvalidArgument with what was expected and what
// came.
namespace tf_ls {

using Status = ::tensorflow::Status;

// A tensor of offsets and one of lengths as sentences of `rows` rows; `what` names them in
// messages.
Status ReadSentences(const tensorflow::Tensor& offsets, const tensorflow::Tensor& lengths,
                     int64_t rows, const std::string& what, Sentences* sentences);

Status ReadSeed(const tensorflow::Tensor& seed, uint64_t* value);

// How far wait-k decoding lags behind: an int32 that is not negative, kNoLag for no limit.
Status ReadLag(const tensorflow::Tensor& tensor, int64_t* lag);

// A vector of two sizes that are not negative: batch and length.
Status ReadBatchAndLength(const tensorflow::Tensor& tensor, int64_t* batch, int64_t* length);

Status CheckRank(const tensorflow::Tensor& tensor, int rank, const std::string& what);
Status CheckShape(const tensorflow::Tensor& tensor, const tensorflow::TensorShape& shape,
                  const std::string& what);

// Attributes that layers share.
Status ReadLayerOptions(tensorflow::OpKernelConstruction* construction, LayerOptions* options);

// How many weights a layer has.
int WeightCount(bool cross_attention);

// The memory_size of a layer with cross-attention, whose weights are the first.
Status ReadMemorySize(const tensorflow::OpInputList& weights, int64_t* memory_size);

// The weights of a layer: names and shapes in order. Fills filter_size (and hidden_size,
// memory_size are given).
Status CheckWeights(const tensorflow::OpInputList& weights, LayerOptions* options);
// Those of one layer among many, which begin at `first`; `layer` names it in messages.
Status CheckWeights(const tensorflow::OpInputList& weights, int first, const std::string& layer,
                    LayerOptions* options);

// The shape function's part of the same: every weight's rank, and its size where it is known.
Status CheckWeightShapes(tensorflow::shape_inference::InferenceContext* context, int first_weight,
                         int count, tensorflow::shape_inference::DimensionHandle hidden,
                         bool cross_attention, tensorflow::shape_inference::DimensionHandle memory);

}  // namespace tf_ls

// Returns from the enclosing function with an error, as TensorFlow's own macro of another name in
// each version does.
#define TF_LS_RETURN_IF_ERROR(expression)         \
  do {                                            \
    const ::tf_ls::Status status_ = (expression); \
    if (!status_.ok()) return status_;            \
  } while (false)

#endif  // TF_LS_CC_OPS_CHECKS_H_
