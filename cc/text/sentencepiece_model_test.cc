#include "cc/text/sentencepiece_model.h"

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

// A field of a Protocol Buffers message: of bytes, or a small number.
std::string Field(int number, const std::string& bytes) {
  EXPECT_LT(bytes.size(), 128u);
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}
std::string Field(int number, int value) {
  return {static_cast<char>(number << 3), static_cast<char>(value)};
}

enum PieceType { kNormal = 1, kUnknown = 2, kControl = 3 };

// Field 1 of a model is a piece: its text, a score (a float, here 0) and its type.
std::string Piece(const std::string& text, PieceType type) {
  return Field(1, Field(1, text) + std::string("\x15\0\0\0\0", 5) + Field(3, type));
}

constexpr char kSpace[] = "\u2581";

// A model of characters: field 2 has the trainer's settings, of which 3 is the kind of model and 4
// is "characters".
std::string CharacterModel() {
  std::string model = Piece("<unk>", kUnknown) + Piece("<s>", kControl) + Piece("</s>", kControl);
  for (const std::string& text : {std::string(kSpace), std::string("a"), std::string("b")}) {
    model += Piece(text, kNormal);
  }
  return model + Field(2, Field(3, 4));
}

TEST(SentencePieceModelTest, HasItsPieces) {
  const SentencePieceModel model(CharacterModel());
  EXPECT_EQ(model.size(), 6);
  EXPECT_EQ(model.piece(5), "b");
  EXPECT_EQ(model.eos_id(), 2);
}

TEST(SentencePieceModelTest, EncodesAndDecodes) {
  const SentencePieceModel model(CharacterModel());
  EXPECT_EQ(model.Encode("ab ba"), (std::vector<int>{3, 4, 5, 3, 5, 4}));
  EXPECT_EQ(model.Decode({3, 4, 5, 3, 5, 4}), "ab ba");
  EXPECT_EQ(model.Encode(""), std::vector<int>());
  EXPECT_EQ(model.Decode({}), "");
}

TEST(SentencePieceModelTest, LeavesControlSymbolsOut) {
  const SentencePieceModel model(CharacterModel());
  EXPECT_EQ(model.Decode({1, 3, 4, 2}), "a");
}

TEST(SentencePieceModelTest, TakesAnyBytes) {
  const SentencePieceModel model(CharacterModel());
  for (const char* bytes : {"\xff", "\xc3", "\xed\xa0\x80", "a\xe4\xbd"}) {
    EXPECT_FALSE(model.Encode(bytes).empty());
  }
  EXPECT_EQ(model.Encode(std::string("a\0b", 3)).size(), 4u);
}

TEST(SentencePieceModelTest, ServesSeveralThreads) {
  const SentencePieceModel model(CharacterModel());
  const std::vector<int> expected = model.Encode("abba baba");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 1000; ++i) wrong[thread] += model.Encode("abba baba") != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(SentencePieceModelTest, RefusesWhatIsNoModel) {
  EXPECT_THROW(SentencePieceModel(""), std::invalid_argument);
  EXPECT_THROW(SentencePieceModel("text\n"), std::invalid_argument);
  EXPECT_THROW(SentencePieceModel(Piece("a", kNormal)), std::invalid_argument);  // no <unk>
}

// Every model that is one byte short, or has one byte changed, is refused or works: this is for the
// sanitizers.
TEST(SentencePieceModelTest, SurvivesDamage) {
  const std::string good = CharacterModel();
  const auto use = [](const std::string& bytes) {
    try {
      const SentencePieceModel model(bytes);
      model.Decode(model.Encode("ab ba"));
    } catch (const std::invalid_argument&) {
    }
  };
  for (size_t i = 0; i < good.size(); ++i) {
    use(good.substr(0, i));
    for (const int flip : {1, 2, 8, 64, 128, 255}) {
      std::string bad = good;
      bad[i] ^= static_cast<char>(flip);
      use(bad);
    }
  }
}

TEST(SentencePieceModelTest, RefusesIdsOutOfRange) {
  const SentencePieceModel model(CharacterModel());
  for (const int id : {-1, 6}) {
    EXPECT_THROW(model.piece(id), std::invalid_argument);
    EXPECT_THROW(model.Decode({3, id}), std::invalid_argument);
  }
}

}  // namespace
}  // namespace tf_ls
