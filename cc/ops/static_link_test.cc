// Links the operations into a program with TensorFlow, as TensorFlow Serving does: nothing is
// loaded at run time.

#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tensorflow/core/framework/graph.pb.h"
#include "tensorflow/core/framework/kernel_def.pb.h"
#include "tensorflow/core/framework/node_def_builder.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/public/session.h"

namespace tf_ls {
namespace {

using tensorflow::Tensor;

const std::set<std::string>& Operations() {
  static const auto* const operations = new std::set<std::string>{
      "LSAdam",
      "LSAnonymousPackedDecoder",
      "LSAnonymousPackedEncoder",
      "LSCloseTokenStream",
      "LSCrossEntropy",
      "LSCrossEntropyGrad",
      "LSDecoderLayer",
      "LSDecoderLayerGrad",
      "LSDecoderLayerStep",
      "LSDecoderLayerStepGrad",
      "LSDropout",
      "LSEmbedding",
      "LSEmbeddingGrad",
      "LSEncodePacked",
      "LSEncoderLayer",
      "LSEncoderLayerGrad",
      "LSGenerate",
      "LSGeneratePacked",
      "LSGenerateStream",
      "LSLayerNorm",
      "LSLayerNormGrad",
      "LSLayout",
      "LSOpenTokenStream",
      "LSOutputProjection",
      "LSOutputProjectionGrad",
      "LSPack",
      "LSPackDecoder",
      "LSPackEncoder",
      "LSPackedDecoderHandle",
      "LSPackedEncoderHandle",
      "LSProjectedCrossEntropy",
      "LSProjectedCrossEntropyGrad",
      "LSProjectedCrossEntropySum",
      "LSProjectedCrossEntropySumGrad",
      "LSReadTokenStream",
      "LSSentencePieceDecode",
      "LSSentencePieceEncode",
      "LSSentencePieceHandle",
      "LSSentencePieceInitialize",
      "LSSentencePiecePieces",
      "LSStackHandles",
      "LSUnpack",
  };
  return *operations;
}

TEST(StaticLink, EveryOperationIsRegistered) {
  std::vector<tensorflow::OpDef> definitions;
  tensorflow::OpRegistry::Global()->GetRegisteredOps(&definitions);
  std::set<std::string> ours;
  for (const tensorflow::OpDef& definition : definitions) {
    const std::string& name = definition.name();
    const bool is_lstm = name.rfind("LSTM", 0) == 0;  // TensorFlow's
    if (name.rfind("LS", 0) == 0 && !is_lstm) ours.insert(name);
  }
  EXPECT_EQ(ours, Operations());
}

TEST(StaticLink, EveryOperationHasAKernelOnTheCpu) {
  for (const std::string& operation : Operations()) {
    const tensorflow::KernelList kernels = tensorflow::GetRegisteredKernelsForOp(operation);
    bool on_cpu = false;
    for (const auto& kernel : kernels.kernel()) on_cpu |= kernel.device_type() == "CPU";
    EXPECT_TRUE(on_cpu) << operation;
  }
}

tensorflow::NodeDef Placeholder(const std::string& name) {
  tensorflow::NodeDef node;
  const auto status = tensorflow::NodeDefBuilder(name, "Placeholder")
                          .Attr("dtype", tensorflow::DT_FLOAT)
                          .Finalize(&node);
  EXPECT_TRUE(status.ok()) << status;
  return node;
}

TEST(StaticLink, ASessionRunsAnOperation) {
  tensorflow::GraphDef graph;
  for (const char* const name : {"x", "gamma", "beta"}) *graph.add_node() = Placeholder(name);
  auto status = tensorflow::NodeDefBuilder("norm", "LSLayerNorm")
                    .Input("x", 0, tensorflow::DT_FLOAT)
                    .Input("gamma", 0, tensorflow::DT_FLOAT)
                    .Input("beta", 0, tensorflow::DT_FLOAT)
                    .Finalize(graph.add_node());
  ASSERT_TRUE(status.ok()) << status;
  const std::unique_ptr<tensorflow::Session> session(
      tensorflow::NewSession(tensorflow::SessionOptions()));
  ASSERT_NE(session, nullptr);
  status = session->Create(graph);
  ASSERT_TRUE(status.ok()) << status;

  constexpr int kRows = 3, kSize = 5;
  Tensor x(tensorflow::DT_FLOAT, {kRows, kSize}), gamma(tensorflow::DT_FLOAT, {kSize}),
      beta(tensorflow::DT_FLOAT, {kSize});
  for (int i = 0; i < kRows * kSize; ++i) x.flat<float>()(i) = std::sin(1.0 + 2.0 * i);
  for (int i = 0; i < kSize; ++i) {
    gamma.flat<float>()(i) = 1.0f + 0.1f * i;
    beta.flat<float>()(i) = 0.2f * i;
  }
  std::vector<Tensor> outputs;
  status = session->Run({{"x", x}, {"gamma", gamma}, {"beta", beta}}, {"norm:0"}, {}, &outputs);
  ASSERT_TRUE(status.ok()) << status;

  const auto input = x.matrix<float>();
  const auto output = outputs[0].matrix<float>();
  for (int row = 0; row < kRows; ++row) {
    double mean = 0.0, variance = 0.0;
    for (int i = 0; i < kSize; ++i) mean += input(row, i) / kSize;
    for (int i = 0; i < kSize; ++i) variance += std::pow(input(row, i) - mean, 2) / kSize;
    for (int i = 0; i < kSize; ++i) {
      const double normal = (input(row, i) - mean) / std::sqrt(variance + 1e-6);
      EXPECT_NEAR(output(row, i), normal * (1.0 + 0.1 * i) + 0.2 * i, 1e-5);
    }
  }
}

}  // namespace
}  // namespace tf_ls
