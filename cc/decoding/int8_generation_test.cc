#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "cc/decoding/generation_loop.h"
#include "cc/kernels/packed_weights.h"
#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::LayerWeights;
using test::Random;
using test::TestCpu;

using Ints = std::vector<int32_t>;

constexpr int64_t kHidden = 64, kMemorySize = 48, kFilter = 128, kLayers = 2, kVocab = 300;
constexpr int64_t kSentences = 12, kMemoryLength = 5, kMaxLength = 12;
constexpr int32_t kEos = 1;

// A decoder with random weights.
class RandomModel {
 public:
  RandomModel() {
    options_.hidden_size = kHidden;
    options_.memory_size = kMemorySize;
    options_.filter_size = kFilter;
    options_.num_heads = 4;
    options_.epsilon = 1e-3f;
    for (int64_t i = 0; i < kLayers; ++i) {
      tensors_.push_back(LayerWeights::Random(options_, 100 * (i + 1)).tensors());
      for (auto& tensor : tensors_.back()) {
        for (float& number : tensor) number *= 0.3f;
      }
    }
    for (const auto& tensors : tensors_) {
      pointers_.emplace_back();
      for (const auto& tensor : tensors) pointers_.back().push_back(tensor.data());
    }
  }

  // Weights that products read, which are all that may be in int8.
  std::vector<WeightPiece> matrices() const {
    constexpr int64_t h = kHidden, m = kMemorySize, f = kFilter;
    struct Place {
      int index;
      int64_t rows, columns;
    };
    std::vector<WeightPiece> pieces = {{output_.data(), kVocab, h, /*transposed=*/true}};
    for (const auto& tensors : tensors_) {
      for (const Place& place : {Place{2, h, 3 * h},
                                 {4, h, h},
                                 {8, h, h},
                                 {10, m, 2 * h},
                                 {12, h, h},
                                 {16, h, f},
                                 {18, f, h}}) {
        pieces.push_back({tensors[place.index].data(), place.rows, place.columns});
      }
    }
    return pieces;
  }

  void Spoil(const std::vector<WeightPiece>& pieces) {
    for (const WeightPiece& piece : pieces) {
      std::fill_n(const_cast<float*>(piece.name()), piece.count(),
                  std::numeric_limits<float>::quiet_NaN());
    }
  }

  GenerationModel View() const {
    GenerationModel model;
    model.embeddings = embeddings_.data();
    model.embedding_scale = 1.5f;
    model.positions = nullptr;
    for (const auto& pointers : pointers_) model.layers.push_back({options_, pointers.data()});
    model.norm = {norm_.data(), norm_.data() + kHidden};
    model.epsilon = 1e-3f;
    model.output = {output_.data(), bias_.data(), kHidden, kVocab};
    return model;
  }

 private:
  LayerOptions options_;
  std::vector<std::vector<std::vector<float>>> tensors_;
  std::vector<std::vector<const float*>> pointers_;
  const std::vector<float> embeddings_ = Random<float>(kVocab * kHidden, 10);
  const std::vector<float> output_ = Random<float>(kVocab * kHidden, 12);
  const std::vector<float> bias_ = Random<float>(kVocab, 13);
  const std::vector<float> norm_ = Random<float>(2 * kHidden, 14);
};

template <typename DeviceAndType>
class Int8GenerationTest : public ::testing::Test {
 protected:
  using T = typename DeviceAndType::Type;
  using Results = std::vector<std::vector<Found>>;

  Int8GenerationTest() {
    options_.search.eos = kEos;
    options_.search.beam_size = 4;
    options_.search.max_length = kMaxLength;
  }

  // With what is packed of the weights; null if nothing is. Sentences may be forced to tokens.
  template <typename Type>
  Results Run(const PackedWeights* packed, const std::vector<Ints>& prefixes = {}) {
    const TestCpu plain;
    Cpu cpu = plain;
    cpu.packed_weights = packed;
    std::vector<SentenceStart> sentences;
    const Ints lengths(kSentences, kMemoryLength);
    for (int64_t i = 0; i < kSentences; ++i) {
      sentences.push_back({static_cast<int32_t>(i + 2), prefixes.empty() ? Ints() : prefixes[i],
                           static_cast<int>(kMemoryLength)});
    }
    const auto memory = Random<Type>(kSentences * kMemoryLength * kMemorySize, 3);
    HeapArena lasting;
    return Generate<Cpu, Type>(cpu, model_.View(),
                               {memory.data(), kSentences, kMemoryLength, lengths.data()},
                               sentences, options_, {&lasting, &lasting}, [] { return false; });
  }

  // The model's matrices in int8, laid out.
  const PackedWeights& Quantize() {
    const auto pieces = model_.matrices();
    const TestCpu cpu;
    memory_ = arena_.Allocate<unsigned char>(PlaceInt8(pieces, nullptr, nullptr));
    PackInt8(cpu, pieces, memory_);
    PlaceInt8(pieces, memory_, &packed_);
    return packed_;
  }

  RandomModel model_;
  GenerationOptions options_;
  test::NanArena arena_;
  unsigned char* memory_;
  PackedWeights packed_;
};
TYPED_TEST_SUITE(Int8GenerationTest, test::DeviceTypes);

TYPED_TEST(Int8GenerationTest, IsNearTheModelInFloat32) {
  using T = typename TestFixture::T;
  const auto best = this->template Run<float>(nullptr);
  const auto found = this->template Run<T>(&this->Quantize());
  // The model's own log-probabilities of what int8 found.
  std::vector<Ints> tokens;
  for (const auto& of_sentence : found) {
    tokens.push_back(of_sentence[0].tokens);
    tokens.back().pop_back();  // the last is the end, or where there is no more room
  }
  const auto forced = this->template Run<float>(nullptr, tokens);
  std::vector<double> actual, expected;
  int same = 0;
  for (int64_t i = 0; i < kSentences; ++i) {
    same += found[i][0].tokens == best[i][0].tokens;
    for (size_t j = 0; j < tokens[i].size(); ++j) {
      actual.push_back(found[i][0].log_probs[j]);
      expected.push_back(forced[i][0].log_probs[j]);
      EXPECT_NEAR(actual.back(), expected.back(), 0.2);
    }
    // Worse than the best by no more than that, if it is another.
    EXPECT_NEAR(forced[i][0].score, best[i][0].score, 0.1);
  }
  EXPECT_LT(test::RelativeError(actual, expected), 0.05);
  EXPECT_GT(test::RelativeError(actual, expected), 1e-4) << "it was not quantised";
  EXPECT_GE(same, kSentences * 2 / 3);
}

TYPED_TEST(Int8GenerationTest, ReadsNothingButInt8OfStoredWeights) {
  using T = typename TestFixture::T;
  const auto expected = this->template Run<T>(&this->Quantize());
  const TestCpu cpu;
  std::vector<std::vector<float>> scales;
  auto pieces = this->model_.matrices();
  for (WeightPiece& piece : pieces) {
    const Weight weight = piece.transposed
                              ? Weight{piece.name(), piece.columns, piece.rows, /*transposed=*/true}
                              : Weight{piece.name(), piece.rows, piece.columns};
    std::vector<int8_t> numbers(piece.count());
    scales.emplace_back(weight.outputs);
    QuantizeWeight(cpu, weight, numbers.data(), scales.back().data());
    // The model's addresses are then those of numbers in int8, with NaNs behind them.
    this->model_.Spoil({piece});
    auto* const place = reinterpret_cast<int8_t*>(const_cast<float*>(piece.name()));
    std::copy(numbers.begin(), numbers.end(), place);
    piece.numbers = Int8Numbers{place, scales.back().data()};
  }
  test::NanArena arena;
  auto* const memory = arena.Allocate<unsigned char>(PlaceInt8(pieces, nullptr, nullptr));
  PackInt8(cpu, pieces, memory);
  PackedWeights packed;
  PlaceInt8(pieces, memory, &packed);
  const auto found = this->template Run<T>(&packed);
  for (int64_t i = 0; i < kSentences; ++i) {
    EXPECT_EQ(found[i][0].tokens, expected[i][0].tokens);
    EXPECT_EQ(found[i][0].log_probs, expected[i][0].log_probs);
  }
}

TYPED_TEST(Int8GenerationTest, TellsOfWeightsThatAreNone) {
  using T = typename TestFixture::T;
  this->model_.Spoil({this->model_.matrices()[3]});
  EXPECT_THROW(this->template Run<T>(&this->Quantize()), std::invalid_argument);
}

}  // namespace
}  // namespace tf_ls
