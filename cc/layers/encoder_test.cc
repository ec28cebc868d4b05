#include "cc/layers/encoder.h"

#include <cmath>
#include <string>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/device_ragged.h"
#include "cc/testing/device_weights.h"
#include "cc/testing/devices.h"
#include "cc/testing/layer_tolerances.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/ragged.h"
#include "cc/testing/reference_layer.h"
#include "cc/testing/tiny_options.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::DeviceRagged;
using test::DeviceWeights;
using test::kOutputTolerance;
using test::LayerWeights;
using test::Numbers;
using test::Ragged;
using test::Random;
using test::Testing;
using test::TinyEncoderOptions;
using test::Unwritten;

constexpr int64_t kVocabulary = 11;
constexpr int64_t kPositions = 5;
constexpr float kScale = 1.5f;

struct Problem {
  LayerOptions options = TinyEncoderOptions();
  int layers = 2;
  bool positions = true;
  bool embedding_norm = false;
  bool norm = true;
  Ragged sentences = Ragged({3, 1, 0, 4}).WithTail(2);
};

template <typename DeviceAndType>
class EncoderTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using OnDevice = typename Testing<Device>::template Numbers<U>;

  explicit EncoderTest() : device_(/*threads=*/2) {}

  // Compares the rows of sentences with double precision.
  void Check(const Problem& p) {
    const int64_t n = p.options.hidden_size, rows = p.sentences.rows();
    const auto table = Random<float>(kVocabulary * n, 1);
    const auto positions = Random<float>(kPositions * n, 2);
    const Norms norms = {Random<float>(2 * n, 4), Random<float>(2 * n, 3)};
    std::vector<LayerWeights> weights;
    for (int i = 0; i < p.layers; ++i)
      weights.push_back(LayerWeights::Random(p.options, 10 + 20 * i));
    MakeTokens(p.sentences);
    EXPECT_TRUE(Close(OfSentences(p, Run(p, table, positions, norms, weights)),
                      OfSentences(p, Expected(p, table, positions, norms, weights)),
                      2 * kOutputTolerance<T>))
        << rows;
  }

 private:
  // gamma and beta each.
  struct Norms {
    std::vector<float> embedding, last;
  };

  void MakeTokens(const Ragged& sentences) {
    const Sentences view = sentences.view();
    ids_.clear();
    places_.clear();
    for (int64_t i = 0; i < view.count; ++i) {
      for (int32_t row = view.offsets[i]; row < view.offsets[i + 1]; ++row) {
        ids_.push_back((5 * row + 3) % kVocabulary);
        places_.push_back(row - view.offsets[i]);
      }
    }
    ids_.resize(view.rows, -1);
    places_.resize(view.rows, 0);
  }

  std::vector<T> Run(const Problem& p, const std::vector<float>& table,
                     const std::vector<float>& positions, const Norms& norms,
                     const std::vector<LayerWeights>& weights) {
    const int64_t n = p.options.hidden_size, rows = p.sentences.rows();
    const OnDevice<float> table_on(table), positions_on(positions);
    const OnDevice<float> embedding_norm_on(norms.embedding), norm_on(norms.last);
    const OnDevice<int32_t> ids(ids_), places(places_);
    const DeviceRagged<Device> sentences(p.sentences);
    std::vector<DeviceWeights<Device>> weights_on;
    std::vector<std::vector<const float*>> pointers;
    for (const LayerWeights& layer : weights) weights_on.emplace_back(layer);
    for (const auto& layer : weights_on) pointers.push_back(layer.pointers());
    LayerStack stack;
    stack.embeddings = table_on.data();
    stack.embedding_scale = kScale;
    stack.positions = p.positions ? positions_on.data() : nullptr;
    for (const auto& layer : pointers) stack.layers.push_back({p.options, layer.data()});
    if (p.embedding_norm)
      stack.embedding_norm = {embedding_norm_on.data(), embedding_norm_on.data() + n};
    stack.norm = {nullptr, nullptr};
    if (p.norm) stack.norm = {norm_on.data(), norm_on.data() + n};
    stack.epsilon = p.options.epsilon;
    OnDevice<T> y(Unwritten<T>(rows * n));
    Encode(static_cast<const Device&>(device_), stack, {rows, ids.data(), places.data()},
           sentences.view(), y.data());
    return y.host();
  }

  Numbers Expected(const Problem& p, const std::vector<float>& table,
                   const std::vector<float>& positions, const Norms& norms,
                   const std::vector<LayerWeights>& weights) const {
    const int64_t n = p.options.hidden_size, rows = p.sentences.rows();
    Numbers x(rows * n, 0.0);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < n && ids_[i] >= 0; ++j) {
        x[i * n + j] = 1.0 * kScale * table[ids_[i] * n + j];
        if (p.positions) x[i * n + j] += positions[places_[i] * n + j];
      }
    }
    if (p.embedding_norm) Normalize(p, norms.embedding, &x);
    const test::ReferenceLayer layer(p.options);
    for (const LayerWeights& of_layer : weights) {
      const auto wide = of_layer.Widened();
      x = layer.Ffn(layer.SelfAttention(x, p.sentences.view(), &wide[0]), &wide[6]);
    }
    if (p.norm) Normalize(p, norms.last, &x);
    return x;
  }

  static void Normalize(const Problem& p, const std::vector<float>& norm, Numbers* x) {
    const int64_t n = p.options.hidden_size;
    for (int64_t i = 0; i < p.sentences.rows(); ++i) {
      double mean = 0.0, variance = 0.0;
      double* const row = &(*x)[i * n];
      for (int64_t j = 0; j < n; ++j) mean += row[j] / n;
      for (int64_t j = 0; j < n; ++j) variance += (row[j] - mean) * (row[j] - mean) / n;
      for (int64_t j = 0; j < n; ++j) {
        row[j] = (row[j] - mean) / std::sqrt(variance + p.options.epsilon) * norm[j] + norm[n + j];
      }
    }
  }

  template <typename U>
  static Numbers OfSentences(const Problem& p, const std::vector<U>& rows) {
    const Numbers wide = Convert<double>(rows);
    const Sentences view = p.sentences.view();
    return {wide.begin(), wide.begin() + view.offsets[view.count] * p.options.hidden_size};
  }

  const typename Testing<Device>::Instance device_;
  std::vector<int32_t> ids_, places_;
};

TYPED_TEST_SUITE(EncoderTest, test::DeviceTypes);

TYPED_TEST(EncoderTest, AgreesWithDoublePrecision) { TestFixture::Check(Problem()); }

TYPED_TEST(EncoderTest, TakesPostNorm) {
  Problem problem;
  problem.options.pre_norm = false;
  problem.norm = false;
  TestFixture::Check(problem);
}

TYPED_TEST(EncoderTest, NormalizesEmbeddings) {
  for (const bool pre_norm : {false, true}) {
    Problem problem;
    problem.options.pre_norm = pre_norm;
    problem.options.epsilon = 1e-12f;
    problem.options.activation = Activation::kGeluErf;
    problem.embedding_norm = true;
    problem.norm = pre_norm;
    TestFixture::Check(problem);
  }
}

TYPED_TEST(EncoderTest, TakesNoPositionsAndOneLayer) {
  Problem problem;
  problem.positions = false;
  problem.layers = 1;
  TestFixture::Check(problem);
}

TYPED_TEST(EncoderTest, LooksBackOnlyWhenCausal) {
  Problem problem;
  problem.options.causal = true;
  TestFixture::Check(problem);
}

TYPED_TEST(EncoderTest, TakesOneTokenAndNone) {
  Problem problem;
  problem.sentences = Ragged({1});
  TestFixture::Check(problem);
  problem.sentences = Ragged({0, 0});
  TestFixture::Check(problem);
}

}  // namespace
}  // namespace tf_ls
