#include <algorithm>
#include <stdexcept>
#include <vector>

#include "cc/ops/checks.h"
#include "cc/ops/cpu_context.h"
#include "cc/ops/device_kernel.h"
#include "cc/text/sentencepiece_model.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/platform/env.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::tstring;
using tensorflow::core::RefCountPtr;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

REGISTER_OP("LSSentencePieceHandle")
    .Output("handle: resource")
    .Attr("container: string = ''")
    .Attr("shared_name: string = ''")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return Status();
    });

REGISTER_OP("LSSentencePieceInitialize")
    .Input("handle: resource")
    .Input("path: string")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      return c->WithRank(c->input(1), 0, &scalar);
    });

REGISTER_OP("LSSentencePiecePieces")
    .Input("handle: resource")
    .Output("pieces: string")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      c->set_output(0, c->Vector(InferenceContext::kUnknownDim));
      return Status();
    });

REGISTER_OP("LSSentencePieceEncode")
    .Input("handle: resource")
    .Input("sentences: string")
    .Output("ids: int64")
    .Output("lengths: int32")
    .Attr("append_eos: bool")
    .Attr("padding_id: int")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar, sentences;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &sentences));
      c->set_output(0, c->Matrix(c->Dim(sentences, 0), InferenceContext::kUnknownDim));
      c->set_output(1, sentences);
      return Status();
    });

REGISTER_OP("LSSentencePieceDecode")
    .Input("handle: resource")
    .Input("ids: int64")
    .Input("lengths: int32")
    .Output("sentences: string")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar, ids, lengths;
      tensorflow::shape_inference::DimensionHandle batch;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &ids));
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &lengths));
      TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(ids, 0), c->Dim(lengths, 0), &batch));
      c->set_output(0, c->Vector(batch));
      return Status();
    });

// What a handle stands for.
class SentencePieceResource : public tensorflow::ResourceBase {
 public:
  SentencePieceResource(std::string path, std::string_view serialized)
      : path_(std::move(path)), model_(serialized) {}

  const std::string& path() const { return path_; }
  const SentencePieceModel& model() const { return model_; }
  std::string DebugString() const override {
    return "SentencePiece model of " + path_ + " with " + std::to_string(model_.size()) + " pieces";
  }

 private:
  const std::string path_;
  const SentencePieceModel model_;
};

// Reads a model once. Doing so again with the same path, as TensorFlow Serving may, changes
// nothing.
class InitializeOp : public DeviceKernel<Cpu> {
 public:
  using DeviceKernel::DeviceKernel;

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Cpu>* /*device*/) override {
    const Tensor& path_tensor = context->input(1);
    TF_LS_RETURN_IF_ERROR(CheckRank(path_tensor, 0, "path"));
    const std::string path = path_tensor.scalar<tstring>()();
    RefCountPtr<SentencePieceResource> resource;
    TF_LS_RETURN_IF_ERROR(tensorflow::LookupOrCreateResource<SentencePieceResource>(
        context, tensorflow::HandleFromInput(context, 0), &resource,
        [&](SentencePieceResource** created) { return Load(context->env(), path, created); }));
    if (resource->path() != path) {
      return InvalidArgument("the handle has the SentencePiece model of ", resource->path(),
                             " already, so it cannot get that of ", path);
    }
    return Status();
  }

 private:
  static Status Load(tensorflow::Env* environment, const std::string& path,
                     SentencePieceResource** created) {
    std::string serialized;
    const Status read = tensorflow::ReadFileToString(environment, path, &serialized);
    if (!read.ok()) {
      return InvalidArgument("the SentencePiece model ", path,
                             " cannot be read: ", read.ToString());
    }
    try {
      *created = std::make_unique<SentencePieceResource>(path, serialized).release();
    } catch (const std::invalid_argument& error) {
      return InvalidArgument(path, ": ", error.what());
    }
    return Status();
  }
};

// An operation that uses the model of its first input.
class ModelKernel : public DeviceKernel<Cpu> {
 public:
  using DeviceKernel::DeviceKernel;

 protected:
  virtual Status RunModel(OpKernelContext* context, const SentencePieceModel& model,
                          Threads* threads) = 0;

 private:
  Status Run(OpKernelContext* context, DeviceContext<Cpu>* device) final {
    RefCountPtr<SentencePieceResource> resource;
    const Status found =
        tensorflow::LookupResource(context, tensorflow::HandleFromInput(context, 0), &resource);
    if (!found.ok()) {
      return InvalidArgument("the handle has no SentencePiece model: ", found.ToString());
    }
    try {
      return RunModel(context, resource->model(), device->device().threads);
    } catch (const std::invalid_argument& error) {
      return InvalidArgument(error.what());
    }
  }
};

class PiecesOp : public ModelKernel {
 public:
  using ModelKernel::ModelKernel;

 protected:
  Status RunModel(OpKernelContext* context, const SentencePieceModel& model,
                  Threads* /*threads*/) override {
    Tensor* pieces;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {model.size()}, &pieces));
    for (int id = 0; id < model.size(); ++id) pieces->vec<tstring>()(id) = model.piece(id);
    return Status();
  }
};

// Cycles, roughly, for a byte of text in and for an id out.
constexpr int64_t kEncodeCost = 300;
constexpr int64_t kDecodeCost = 1000;

class EncodeOp : public ModelKernel {
 public:
  explicit EncodeOp(OpKernelConstruction* construction) : ModelKernel(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("append_eos", &append_eos_));
    OP_REQUIRES_OK(construction, construction->GetAttr("padding_id", &padding_id_));
  }

 protected:
  Status RunModel(OpKernelContext* context, const SentencePieceModel& model,
                  Threads* threads) override {
    const Tensor& sentences_tensor = context->input(1);
    TF_LS_RETURN_IF_ERROR(CheckRank(sentences_tensor, 1, "sentences"));
    if (append_eos_ && model.eos_id() < 0) {
      return InvalidArgument(
          "append_eos needs a SentencePiece model with an end-of-sentence "
          "piece, and this one has none");
    }
    const auto sentences = sentences_tensor.vec<tstring>();
    const int64_t batch = sentences.size();
    int64_t bytes = 0;
    for (int64_t i = 0; i < batch; ++i) bytes += sentences(i).size();
    std::vector<std::vector<int>> encoded(batch);
    threads->ParallelFor(batch, kEncodeCost * (1 + bytes / std::max<int64_t>(batch, 1)),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i) {
                             encoded[i] = model.Encode(sentences(i));
                             if (append_eos_) encoded[i].push_back(model.eos_id());
                           }
                         });

    int64_t longest = 0;
    for (const std::vector<int>& row : encoded) {
      longest = std::max<int64_t>(longest, row.size());
    }
    Tensor *ids, *lengths;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {batch, longest}, &ids));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {batch}, &lengths));
    int64_t* next = ids->flat<int64_t>().data();
    for (int64_t i = 0; i < batch; ++i) {
      lengths->vec<int32_t>()(i) = static_cast<int32_t>(encoded[i].size());
      next = std::copy(encoded[i].begin(), encoded[i].end(), next);
      next = std::fill_n(next, longest - encoded[i].size(), padding_id_);
    }
    return Status();
  }

 private:
  bool append_eos_;
  int64_t padding_id_;
};

class DecodeOp : public ModelKernel {
 public:
  using ModelKernel::ModelKernel;

 protected:
  Status RunModel(OpKernelContext* context, const SentencePieceModel& model,
                  Threads* threads) override {
    const Tensor& ids_tensor = context->input(1);
    const Tensor& lengths_tensor = context->input(2);
    TF_LS_RETURN_IF_ERROR(CheckRank(ids_tensor, 2, "ids"));
    const int64_t batch = ids_tensor.dim_size(0), longest = ids_tensor.dim_size(1);
    TF_LS_RETURN_IF_ERROR(CheckShape(lengths_tensor, {batch}, "lengths"));
    const auto ids = ids_tensor.matrix<int64_t>();
    const auto lengths = lengths_tensor.vec<int32_t>();
    for (int64_t i = 0; i < batch; ++i) {
      if (lengths(i) < 0 || lengths(i) > longest) {
        return InvalidArgument("lengths must be from 0 to ", longest, ", got ", lengths(i),
                               " for row ", i);
      }
      for (int64_t j = 0; j < lengths(i); ++j) {
        if (ids(i, j) < 0 || ids(i, j) >= model.size()) {
          return InvalidArgument("ids must be from 0 to ", model.size() - 1, ", got ", ids(i, j),
                                 " at position ", j, " of row ", i);
        }
      }
    }

    Tensor* sentences;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {batch}, &sentences));
    auto decoded = sentences->vec<tstring>();
    threads->ParallelFor(batch, kDecodeCost * (1 + longest), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t* const row = ids.data() + i * longest;
        decoded(i) = model.Decode(std::vector<int>(row, row + lengths(i)));
      }
    });
    return Status();
  }
};

TF_LS_REGISTER_ON_CPU("LSSentencePieceHandle", ,
                      tensorflow::ResourceHandleOp<SentencePieceResource>)
TF_LS_REGISTER_ON_CPU("LSSentencePieceInitialize", , InitializeOp)
TF_LS_REGISTER_ON_CPU("LSSentencePiecePieces", , PiecesOp)
TF_LS_REGISTER_ON_CPU("LSSentencePieceEncode", , EncodeOp)
TF_LS_REGISTER_ON_CPU("LSSentencePieceDecode", , DecodeOp)

}  // namespace
}  // namespace tf_ls
