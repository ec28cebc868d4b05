#include <cstdint>
#include <memory>
#include <vector>

#include "cc/ops/checks.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/token_streams.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Opens a stream, which one LSGenerateStream writes to, and ends when it ends.
REGISTER_OP("LSOpenTokenStream")
    .Output("stream: int64")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return Status();
    });

// Returns what was written since the last time; waits, if that is nothing, for the next tokens or
// for the end of the stream, and is empty there, and where the stream is closed. For each token:
// its sentence, its sample of the sentence, itself (-1 where a hypothesis ended without one), its
// log-probability, whether it is the hypothesis' last.
REGISTER_OP("LSReadTokenStream")
    .Input("stream: int64")
    .Output("sentences: int64")
    .Output("samples: int64")
    .Output("tokens: int64")
    .Output("log_probs: float")
    .Output("are_last: bool")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
      for (int i = 0; i < c->num_outputs(); ++i)
        c->set_output(i, c->Vector(InferenceContext::kUnknownDim));
      return Status();
    });

// Ends the wait of who reads, and forgets the stream with what is in it.
REGISTER_OP("LSCloseTokenStream")
    .Input("stream: int64")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      return c->WithRank(c->input(0), 0, &scalar);
    });

Status ReadNumber(OpKernelContext* context, int64_t* number) {
  TF_LS_RETURN_IF_ERROR(CheckShape(context->input(0), {}, "stream"));
  *number = context->input(0).scalar<int64_t>()();
  return Status();
}

class OpenOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    Tensor* number;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &number));
    number->scalar<int64_t>()() = TokenStreams::Global().Open();
  }
};

class ReadOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    int64_t number = 0;
    std::shared_ptr<TokenStream> stream;
    OP_REQUIRES_OK(context, ReadNumber(context, &number));
    OP_REQUIRES_OK(context, TokenStreams::Global().Find(number, &stream));
    std::vector<NewToken> read;
    if (stream != nullptr) read = stream->Read();
    Tensor* outputs[5];
    for (int i = 0; i < 5; ++i) {
      OP_REQUIRES_OK(context,
                     context->allocate_output(i, {static_cast<int64_t>(read.size())}, &outputs[i]));
    }
    for (size_t i = 0; i < read.size(); ++i) {
      outputs[0]->vec<int64_t>()(i) = read[i].sentence;
      outputs[1]->vec<int64_t>()(i) = read[i].sample;
      outputs[2]->vec<int64_t>()(i) = read[i].token;
      outputs[3]->vec<float>()(i) = read[i].log_prob;
      outputs[4]->vec<bool>()(i) = read[i].is_last;
    }
  }
};

class CloseOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    int64_t number = 0;
    OP_REQUIRES_OK(context, ReadNumber(context, &number));
    OP_REQUIRES_OK(context, TokenStreams::Global().Close(number));
  }
};

// On the host alone: what they read and write is there.
TF_LS_REGISTER_ON_CPU("LSOpenTokenStream", , OpenOp)
TF_LS_REGISTER_ON_CPU("LSReadTokenStream", , ReadOp)
TF_LS_REGISTER_ON_CPU("LSCloseTokenStream", , CloseOp)

}  // namespace
}  // namespace tf_ls
