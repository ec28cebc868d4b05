#include "cc/decoding/prompt_rows.h"

#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using Ints = std::vector<int32_t>;

constexpr int32_t kEos = 0;

class PromptRowsTest : public ::testing::Test {
 protected:
  PromptRowsTest() {
    options_.search.eos = kEos;
    options_.search.max_length = 4;
    options_.search.beam_size = 3;
  }

  std::vector<PromptRows> Pieces(const std::vector<SentenceStart>& sentences,
                                 int64_t most_rows = 100) const {
    return PiecesOfPrompts(options_, sentences, most_rows);
  }

  GenerationOptions options_;
};

TEST_F(PromptRowsTest, EndPromptsWhereHypothesesEnd) {
  const auto length = [&](Ints prefix, int source_length = -1) {
    return PromptLength(options_.search, {5, std::move(prefix), source_length});
  };
  EXPECT_EQ(length({}), 0);
  EXPECT_EQ(length({7}), 1);
  EXPECT_EQ(length({7, 8, 9, 7, 8}), 4);
  EXPECT_EQ(length({7, kEos, 9}), 2);
  options_.search.max_extra_length = 1;
  EXPECT_EQ(length({7, 8, 9}, /*source_length=*/1), 2);
}

TEST_F(PromptRowsTest, ReadWhatIsInFrontOfEachToken) {
  const auto pieces = Pieces({{5, {7, 8, 9}, -1}, {6, {}, -1}, {4, {3}, -1}});
  ASSERT_EQ(pieces.size(), 1u);
  const PromptRows& rows = pieces[0];
  EXPECT_EQ(rows.sentences, (Ints{0, 2}));
  EXPECT_EQ(rows.offsets, (Ints{0, 3, 4}));
  EXPECT_EQ(rows.lengths, (Ints{3, 1}));
  EXPECT_EQ(rows.tokens, (Ints{5, 7, 8, 4}));
  EXPECT_EQ(rows.next_tokens, (Ints{7, 8, 9, 3}));
  EXPECT_EQ(rows.positions, (Ints{0, 1, 2, 0}));
  EXPECT_EQ(rows.sentence_of, (Ints{0, 0, 0, 2}));
  EXPECT_EQ(rows.slots, (Ints{0, 0, 0, 6}));
}

TEST_F(PromptRowsTest, UseTheFirstSamplesSlot) {
  options_.search.beam_size = 1;
  options_.samples = 2;
  EXPECT_EQ(Pieces({{5, {7}, -1}, {6, {7, 8}, -1}})[0].slots, (Ints{0, 2, 2}));
}

TEST_F(PromptRowsTest, ListWhatWasThereOnce) {
  const PromptRows rows = Pieces({{5, {7, 8, 7, 9}, -1}, {6, {3, 4}, -1}})[0];
  EXPECT_EQ(rows.listed, (Ints{7, 8, 3}));
  EXPECT_EQ(rows.penalized_begin, (Ints{0, 0, 0, 0, 2, 2}));
  EXPECT_EQ(rows.penalized_end, (Ints{0, 1, 2, 2, 2, 3}));
}

TEST_F(PromptRowsTest, ComeInPiecesOfWholePrompts) {
  const auto pieces = Pieces({{5, {7, 8}, -1}, {5, {7}, -1}, {5, {7, 8, 9, 7}, -1}, {5, {7}, -1}},
                             /*most_rows=*/3);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].sentences, (Ints{0, 1}));
  EXPECT_EQ(pieces[1].sentences, (Ints{2}));
  EXPECT_EQ(pieces[2].sentences, (Ints{3}));
  EXPECT_TRUE(Pieces({{5, {}, -1}}).empty());
  EXPECT_TRUE(Pieces({}).empty());
}

TEST_F(PromptRowsTest, AreFilledUpWithRowsWithoutTokens) {
  options_.search.max_length = 17;
  const PromptRows rows = Pieces({{5, Ints(17, 7), -1}})[0];
  EXPECT_EQ(rows.count(), 17);
  EXPECT_EQ(rows.filled_up(), 18);
  EXPECT_EQ(rows.tokens[17], -1);
  EXPECT_EQ(rows.next_tokens[17], -1);
}

}  // namespace
}  // namespace tf_ls
