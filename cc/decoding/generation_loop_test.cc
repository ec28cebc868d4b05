#include "cc/decoding/generation_loop.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "cc/layers/decoder_layer.h"
#include "cc/layers/encoder_layer.h"
#include "cc/testing/device_ragged.h"
#include "cc/testing/device_weights.h"
#include "cc/testing/devices.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/ragged.h"
#include "cc/testing/tiny_options.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Convert;
using test::DeviceRagged;
using test::DeviceWeights;
using test::LayerWeights;
using test::Ragged;
using test::Random;
using test::Testing;
using test::TinyDecoderOptions;
using test::Unwritten;
using test::Value;

using Ints = std::vector<int32_t>;

constexpr int64_t kLayers = 2, kVocab = 37, kMemoryLength = 4, kMaxLength = 9;
constexpr int32_t kEos = 1;
const Ints kMemoryLengths = {4, 0, 3, 2, 4};
const int64_t kSentences = kMemoryLengths.size();

// Log-probabilities are sums of products of hidden states; the half types round these.
template <typename T>
constexpr double kLogProbTolerance = std::is_same<T, float>::value     ? 1e-4
                                     : std::is_same<T, float16>::value ? 0.02
                                                                       : 0.15;

template <typename DeviceAndType>
class GenerationLoopTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using OnDevice = typename Testing<Device>::template Numbers<U>;

  explicit GenerationLoopTest(int64_t memory_size = 5)
      : layer_options_(TinyDecoderOptions(memory_size)) {
    options_.search.eos = kEos;
    options_.search.beam_size = options_.search.num_hypotheses = 3;
    options_.search.max_length = kMaxLength;
  }

  // Its weights must outlive it.
  GenerationModel Model(const float* output) {
    const int64_t n = layer_options_.hidden_size;
    GenerationModel model;
    model.embeddings = embeddings_.data();
    model.embedding_scale = 1.5f;
    model.positions = positions_.data();
    pointers_.clear();
    for (const auto& weights : layer_weights_) {
      pointers_.push_back(weights.pointers());
    }
    for (const auto& pointers : pointers_) {
      model.layers.push_back({layer_options_, pointers.data()});
    }
    if (has_embedding_norm_) model.embedding_norm = {norm_.data() + n, norm_.data()};
    model.norm = {norm_.data(), norm_.data() + n};
    model.epsilon = 1e-3f;
    model.output = {output, bias_.data(), n, kVocab};
    return model;
  }

  std::vector<std::vector<Found>> Run(
      std::function<bool()> cancelled = [] { return false; },
      const TokenListener& listener = nullptr) {
    const Device& device = device_;
    const OnDevice<float> output(output_);
    const GenerationModel model = Model(output.data());
    const bool has_memory = layer_options_.memory_size > 0;
    std::vector<SentenceStart> sentences;
    for (size_t i = 0; i < prompts_.size(); ++i) {
      sentences.push_back({StartOf(i), prompts_[i], has_memory ? kMemoryLengths[i] : -1});
    }
    const OnDevice<T> memory(memory_);
    HeapArena host;
    return Generate<Device, T>(device, model,
                               {memory.data(), kSentences, kMemoryLength, kMemoryLengths.data()},
                               sentences, options_, {device.arena, &host}, cancelled, listener);
  }

  // Hypotheses must begin with their prompts, as far as there is room, and log-probabilities be
  // those that whole layers give for the tokens.
  void Check(const std::vector<std::vector<Found>>& results) {
    for (size_t i = 0; i < prompts_.size(); ++i) {
      ASSERT_EQ(static_cast<int>(results[i].size()), options_.search.num_hypotheses);
      const Ints& prompt = prompts_[i];
      for (const Found& found : results[i]) {
        const auto known = std::min(prompt.size(), found.tokens.size());
        EXPECT_TRUE(std::equal(prompt.begin(), prompt.begin() + known, found.tokens.begin()));
        EXPECT_TRUE(known == prompt.size() || known == kMaxLength || found.tokens.back() == kEos);
        Ints inputs = {StartOf(i)};
        inputs.insert(inputs.end(), found.tokens.begin(), found.tokens.end() - 1);
        const std::vector<double> expected = LogProbs(i, inputs, found.tokens);
        for (size_t j = 0; j < expected.size(); ++j) {
          EXPECT_NEAR(found.log_probs[j], expected[j], kLogProbTolerance<T>);
        }
      }
    }
  }

  static int32_t StartOf(int64_t sentence) { return static_cast<int32_t>(sentence % 30 + 2); }

  LayerOptions layer_options_;
  bool has_embedding_norm_ = false;
  GenerationOptions options_;
  // Of each sentence.
  std::vector<Ints> prompts_ = {{}, {5}, {7, 8}, {}, {9, 4, 9, 3, 2, 6, 7}};
  std::vector<T> memory_ = Random<T>(kSentences * kMemoryLength * 5, 3);
  std::vector<float> output_ = Random<float>(kVocab * 6, 12);

 private:
  std::vector<double> LogProbs(int64_t sentence, const Ints& inputs, const Ints& tokens) {
    const auto length = static_cast<int32_t>(inputs.size());
    const int64_t n = layer_options_.hidden_size;
    const auto embeddings = embeddings_.host(), positions = positions_.host();
    std::vector<float> embedded;
    for (int32_t p = 0; p < length; ++p) {
      std::vector<double> row;
      for (int64_t j = 0; j < n; ++j)
        row.push_back(embeddings[inputs[p] * n + j] * 1.5 + positions[p * n + j]);
      if (has_embedding_norm_) row = Normalized(row, n, 0);
      embedded.insert(embedded.end(), row.begin(), row.end());
    }
    const int64_t m = layer_options_.memory_size;
    const DeviceRagged<Device> rows(Ragged({length}));
    std::vector<T> hidden = Convert<T>(embedded);
    const auto run = [&](const auto& layer) {
      const OnDevice<T> x(hidden);
      OnDevice<T> y(Unwritten<T>(length * n));
      OnDevice<unsigned char> reserve(std::vector<unsigned char>(layer.ReserveBytes()));
      layer.Forward(x.data(), reserve.data(), y.data());
      hidden = y.host();
    };
    for (const auto& pointers : pointers_) {
      if (m > 0) {
        const DeviceRagged<Device> memory_rows(Ragged({kMemoryLength}, {kMemoryLengths[sentence]}));
        const auto begin = memory_.begin() + sentence * kMemoryLength * m;
        const OnDevice<T> memory(std::vector<T>(begin, begin + kMemoryLength * m));
        run(DecoderLayer<Device, T>(device_, layer_options_, rows.view(),
                                    {memory.data(), memory_rows.view(), kNoLag}, pointers.data()));
      } else {
        run(EncoderLayer<Device, T>(device_, layer_options_, rows.view(), pointers.data()));
      }
    }
    std::vector<double> log_probs;
    for (int32_t p = 0; p < length; ++p) {
      const std::vector<double> logits = LogitsOf(&hidden[p * n]);
      double sum = 0.0;
      for (const double logit : logits) sum += std::exp(logit);
      log_probs.push_back(logits[tokens[p]] - std::log(sum));
    }
    return log_probs;
  }

  std::vector<double> LogitsOf(const T* row) const {
    const int64_t n = layer_options_.hidden_size;
    const auto normalized = Normalized(Convert<double>(std::vector<T>(row, row + n)), 0, n);
    const auto bias = bias_.host();
    std::vector<double> logits;
    for (int64_t word = 0; word < kVocab; ++word) {
      double logit = bias[word];
      for (int64_t j = 0; j < n; ++j) logit += normalized[j] * output_[word * n + j];
      logits.push_back(logit);
    }
    return logits;
  }

  // By gamma and beta at these places of norm_.
  std::vector<double> Normalized(std::vector<double> row, int64_t gamma, int64_t beta) const {
    const auto n = static_cast<int64_t>(row.size());
    const auto norm = norm_.host();
    double mean = 0.0, variance = 0.0;
    for (const double value : row) mean += value / n;
    for (const double value : row) variance += std::pow(value - mean, 2) / n;
    for (int64_t j = 0; j < n; ++j)
      row[j] = (row[j] - mean) / std::sqrt(variance + 1e-3) * norm[gamma + j] + norm[beta + j];
    return row;
  }

  const typename Testing<Device>::Instance device_;
  std::vector<DeviceWeights<Device>> layer_weights_ = [&] {
    std::vector<DeviceWeights<Device>> weights;
    for (int64_t i = 0; i < kLayers; ++i) {
      weights.emplace_back(LayerWeights::Random(layer_options_, 100 * (i + 1)));
    }
    return weights;
  }();
  std::vector<std::vector<const float*>> pointers_;
  const OnDevice<float> embeddings_{Random<float>(kVocab * 6, 10)};
  const OnDevice<float> positions_{Random<float>(kMaxLength * 6, 11)};
  const OnDevice<float> bias_{Random<float>(kVocab, 13)};
  const OnDevice<float> norm_{Random<float>(2 * 6, 14)};
};
TYPED_TEST_SUITE(GenerationLoopTest, test::DeviceTypes);

template <typename DeviceAndType>
class GenerationLoopWithoutMemoryTest : public GenerationLoopTest<DeviceAndType> {
 protected:
  GenerationLoopWithoutMemoryTest() : GenerationLoopTest<DeviceAndType>(/*memory_size=*/0) {}
};
TYPED_TEST_SUITE(GenerationLoopWithoutMemoryTest, test::DeviceTypes);

TYPED_TEST(GenerationLoopTest, ReturnsTheModelsLogProbabilities) { this->Check(this->Run()); }

TYPED_TEST(GenerationLoopWithoutMemoryTest, ReturnsTheModelsLogProbabilities) {
  this->Check(this->Run());
}

TYPED_TEST(GenerationLoopTest, NormalizesEmbeddings) {
  this->has_embedding_norm_ = true;
  this->Check(this->Run());
}

TYPED_TEST(GenerationLoopTest, SamplesByTheModelsLogProbabilities) {
  this->options_.samples = this->options_.search.num_hypotheses;
  this->options_.search.beam_size = this->options_.search.num_hypotheses = 1;
  this->options_.search.forbidden_tokens = {3, 4};
  this->options_.sampling.top_k = 20;
  const auto results = this->Run();
  this->options_.search.num_hypotheses = this->options_.samples;
  this->Check(results);
}

TYPED_TEST(GenerationLoopTest, TakesManyExclusions) {
  // As many as TopK is not asked to look for.
  this->options_.search.beam_size = 60;
  for (int32_t i = 0; i < 70; ++i) {
    this->options_.search.forbidden_tokens.push_back(10 + i % 20);
  }
  const auto results = this->Run();
  this->Check(results);
  for (const auto& of_sentence : results) {
    for (const Found& found : of_sentence) {
      for (const int32_t token : found.tokens) EXPECT_FALSE(token >= 10 && token < 30);
    }
  }
}

TYPED_TEST(GenerationLoopTest, ReturnsAttention) {
  this->options_.search.return_attention = true;
  this->options_.search.coverage_penalty = 0.1;
  const auto results = this->Run();
  this->Check(results);
  for (int64_t i = 0; i < kSentences; ++i) {
    for (const Found& found : results[i]) {
      ASSERT_EQ(found.attention.size(), found.tokens.size() * kMemoryLengths[i]);
      double sum = 0.0;
      for (const float weight : found.attention) sum += weight;
      EXPECT_NEAR(sum, kMemoryLengths[i] > 0 ? found.tokens.size() : 0, 1e-3);
    }
  }
}

TYPED_TEST(GenerationLoopWithoutMemoryTest, TellsTokensAsTheyCome) {
  this->options_.search.beam_size = this->options_.search.num_hypotheses = 1;
  for (const int samples : {0, 2}) {
    this->options_.samples = samples;
    const int of_sentence = this->options_.SearchesOfSentence();
    std::vector<Found> told(kSentences * of_sentence);
    size_t steps = 0;
    const auto results = this->Run([] { return false; },
                                   [&](const std::vector<NewToken>& tokens) {
                                     ++steps;
                                     for (const NewToken& token : tokens) {
                                       Found& found =
                                           told[token.sentence * of_sentence + token.sample];
                                       if (token.token < 0) continue;
                                       found.tokens.push_back(token.token);
                                       found.log_probs.push_back(token.log_prob);
                                     }
                                   });
    size_t longest = 0;
    for (int64_t i = 0; i < kSentences; ++i) {
      for (int j = 0; j < of_sentence; ++j) {
        const Found &found = results[i][j], &heard = told[i * of_sentence + j];
        const auto forced = static_cast<int64_t>(this->prompts_[i].size());
        EXPECT_EQ(heard.tokens, Ints(found.tokens.begin() + forced, found.tokens.end()));
        EXPECT_EQ(heard.log_probs,
                  std::vector<float>(found.log_probs.begin() + forced, found.log_probs.end()));
        longest = std::max(longest, heard.tokens.size());
      }
    }
    EXPECT_EQ(steps, 1 + longest);  // prompts come in front of the first step
  }
}

TYPED_TEST(GenerationLoopTest, EndsWithPromptsThatAreWhole) {
  this->prompts_ = {{5, kEos, 6}, {kEos}, {2, 3, 4, 5, 6, 7, 8, 9, 2, 3}, Ints(kMaxLength, 4), {6}};
  this->options_.search.beam_size = this->options_.search.num_hypotheses = 1;
  for (const bool early_stopping : {false, true}) {
    this->options_.search.early_stopping = early_stopping;
    this->Check(this->Run());
  }
}

TYPED_TEST(GenerationLoopTest, GoesOnBehindAPromptAsIfItHadFoundIt) {
  this->options_.search.beam_size = this->options_.search.num_hypotheses = 1;
  this->options_.search.return_attention = true;
  this->options_.search.min_length = kMaxLength;
  this->options_.repetition_penalty = 1.5f;
  this->prompts_.assign(kSentences, {});
  const auto expected = this->Run();
  for (const int known : {1, 2, 5}) {
    for (int64_t i = 0; i < kSentences; ++i) {
      const auto begin = expected[i][0].tokens.begin();
      this->prompts_[i] = Ints(begin, begin + (known + i) % kMaxLength);
    }
    const auto results = this->Run();
    for (int64_t i = 0; i < kSentences; ++i) {
      const Found &found = results[i][0], &before = expected[i][0];
      EXPECT_EQ(found.tokens, before.tokens);
      const auto expect_near = [](const auto& a, const auto& b) {
        ASSERT_EQ(a.size(), b.size());
        for (size_t j = 0; j < a.size(); ++j)
          EXPECT_NEAR(a[j], b[j], kLogProbTolerance<typename TestFixture::T>);
      };
      expect_near(found.log_probs, before.log_probs);
      expect_near(found.attention, before.attention);
    }
  }
}

TYPED_TEST(GenerationLoopWithoutMemoryTest, ReadsPromptsInPieces) {
  using Device = typename TestFixture::Device;
  this->options_.search.beam_size = this->options_.search.num_hypotheses = 1;
  this->prompts_.clear();
  for (int32_t i = 0; i < kMostPromptRows<Device> / 7 + 3; ++i) {
    this->prompts_.push_back({2 + i % 7, 2 + i % 5, 2, 3, 4, 5, 2 + i % 3});
  }
  this->Check(this->Run());
}

TYPED_TEST(GenerationLoopTest, EndsWhenItIsCancelled) {
  for (const int times : {1, 3}) {
    int asked = 0;
    EXPECT_THROW(this->Run([&] { return ++asked == times; }), Cancelled);
    EXPECT_EQ(asked, times);
  }
}

TYPED_TEST(GenerationLoopTest, TellsOfLogitsThatAreNone) {
  this->output_[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(this->Run(), std::invalid_argument);
  this->prompts_.assign(kSentences, {});
  EXPECT_THROW(this->Run(), std::invalid_argument);
}

}  // namespace
}  // namespace tf_ls
