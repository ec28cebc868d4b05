#include "cc/ops/cross_entropy_inputs.h"

namespace tf_ls {
namespace {

using tensorflow::Tensor;
using tensorflow::errors::InvalidArgument;

template <typename Label>
Status CopyLabels(const Tensor& tensor, const float* weights, int64_t vocab_size,
                  std::vector<int32_t>* labels) {
  const auto from = tensor.flat<Label>();
  labels->resize(from.size());
  for (int64_t i = 0; i < from.size(); ++i) {
    if (weights[i] != 0.0f && (from(i) < 0 || from(i) >= vocab_size)) {
      return InvalidArgument("label ", i, " must be from 0 to ", vocab_size - 1,
                             ", since its weight is ", weights[i], "; got ", from(i));
    }
    (*labels)[i] = static_cast<int32_t>(from(i));
  }
  return Status();
}

}  // namespace

Status ReadLabelSmoothing(tensorflow::OpKernelConstruction* construction, float* smoothing) {
  TF_LS_RETURN_IF_ERROR(construction->GetAttr("label_smoothing", smoothing));
  if (*smoothing >= 0.0f && *smoothing < 1.0f) return Status();
  return InvalidArgument("label_smoothing must be in [0, 1), got ", *smoothing);
}

Status LabelInputs::Read(const Tensor& labels, const Tensor& weights, int64_t vocab_size,
                         float smoothing) {
  TF_LS_RETURN_IF_ERROR(CheckShape(weights, labels.shape(), "label_weights"));
  if (vocab_size < 1) return InvalidArgument("the vocabulary must have at least one word, got 0");
  if (vocab_size == 1 && smoothing > 0.0f) {
    return InvalidArgument("label_smoothing must be 0 for a vocabulary of one word, got ",
                           smoothing);
  }
  const float* const values = weights.flat<float>().data();
  TF_LS_RETURN_IF_ERROR(labels.dtype() == tensorflow::DT_INT64
                            ? CopyLabels<int64_t>(labels, values, vocab_size, &labels_)
                            : CopyLabels<int32_t>(labels, values, vocab_size, &labels_));
  targets_ = {labels.NumElements(), vocab_size, labels_.data(), values, smoothing};
  return Status();
}

}  // namespace tf_ls
