#include "cc/decoding/search_batch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using Ints = std::vector<int32_t>;

constexpr int32_t kEos = 0;

// Both sides of the exchange in one memory, as host and device have it.
class SearchBatchTest : public ::testing::Test {
 protected:
  void Start(std::vector<SentenceStart> sentences) {
    sentences_ = std::move(sentences);
    searches_.emplace_back(options_, sentences_);
    inputs_ = Cut<StepInputs>(
        [&](BufferCutter* cutter) { return StepInputs::Cut(searches_[0].limits(), cutter); });
  }
  SearchBatch& searches() { return searches_[0]; }

  // Reads all prompts; their tokens have this log-probability each.
  void ReadPrompts(float log_prob) {
    for (const PromptRows& rows : PiecesOfPrompts(options_, sentences_, /*most_rows=*/100)) {
      PromptScores scores;
      scores.next_logits.resize(rows.count(), log_prob);
      scores.log_sums.resize(rows.count(), 0.0);
      searches().TakePrompts(rows, scores);
    }
  }

  void Prepare() { work_ = searches().Prepare(inputs_); }

  // Every row has the same best words, each twice as probable as the next.
  void Advance(const Ints& best) {
    StepOutputs outputs = NewOutputs();
    for (int64_t i = 0; i < work_.rows; ++i) {
      for (int64_t j = 0; j < work_.k; ++j) {
        const bool is_there = j < static_cast<int64_t>(best.size());
        outputs.ids[i * work_.k + j] = is_there ? best[j] : -1;
        outputs.logits[i * work_.k + j] = static_cast<float>(-std::log(2.0) * (j + 1.0));
      }
    }
    searches().Advance(outputs, 0);
  }

  StepOutputs NewOutputs() {
    StepOutputs outputs =
        Cut<StepOutputs>([&](BufferCutter* cutter) { return StepOutputs::Cut(work_, 0, cutter); });
    *outputs.bad_row = -1;
    std::fill_n(outputs.log_sums, work_.rows, 0.0);
    return outputs;
  }

  Ints Rows(const int32_t* numbers) const { return Ints(numbers, numbers + work_.rows); }
  Ints Listed(const int32_t* begin, const int32_t* end, int64_t row) const {
    return Ints(inputs_.listed + begin[row], inputs_.listed + end[row]);
  }

  GenerationOptions options_;
  std::vector<SentenceStart> sentences_;
  StepWork work_;
  StepInputs inputs_;

 private:
  template <typename Parts, typename CutParts>
  Parts Cut(const CutParts& cut) {
    BufferCutter measure(nullptr);
    cut(&measure);
    memory_.emplace_back(measure.used() + 1);
    BufferCutter cutter(memory_.back().data());
    return cut(&cutter);
  }

  std::vector<SearchBatch> searches_;
  std::vector<std::vector<unsigned char>> memory_;
};

TEST_F(SearchBatchTest, GivesRowsToThoseThatGoOn) {
  options_.search.beam_size = 2;
  Start({{5, {}, 1}, {6, {}, 1}, {7, {}, 0}});
  Prepare();
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{5, 6, 7}));
  EXPECT_EQ(Rows(inputs_.slots), (Ints{0, 2, 4}));
  EXPECT_EQ(Rows(inputs_.sentence_of), (Ints{0, 1, 2}));
  EXPECT_EQ(Rows(inputs_.positions), (Ints{0, 0, 0}));
  EXPECT_EQ(work_.k, 2);
  Advance({3, kEos});
  Prepare();  // one of the two of each has ended
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{3, 3, 3}));
  EXPECT_EQ(Rows(inputs_.parents), (Ints{0, 1, 2}));
  Advance({kEos, 4});
  EXPECT_TRUE(searches().done());
  for (const auto& results : searches().Results()) {
    ASSERT_EQ(results.size(), 1u);
    EXPECT_EQ(results[0].tokens, (Ints{3, kEos}));
  }
}

TEST_F(SearchBatchTest, ContinuesRowsOfTheStepBefore) {
  options_.search.beam_size = 2;
  Start({{5, {}, -1}, {6, {}, -1}});
  Prepare();
  Advance({3, 4});
  Prepare();
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{3, 4, 3, 4}));
  EXPECT_EQ(Rows(inputs_.parents), (Ints{0, 0, 1, 1}));
  EXPECT_EQ(Rows(inputs_.slots), (Ints{0, 1, 2, 3}));
  Advance({8, kEos});
  Prepare();
  EXPECT_EQ(Rows(inputs_.parents), (Ints{0, 2}));
}

TEST_F(SearchBatchTest, FillsUpWithRowsOfTheirOwnSlots) {
  options_.search.beam_size = 1;
  Start(std::vector<SentenceStart>(17, SentenceStart{5, {}, -1}));
  Prepare();
  EXPECT_EQ(work_.rows, 18);
  EXPECT_EQ(inputs_.slots[17], 17);
  EXPECT_LT(inputs_.slots[17], searches().slots());
  EXPECT_EQ(inputs_.sentence_of[17], 0);
}

TEST(RowUnitTest, FillsUpByAnEighthAtMost) {
  for (int64_t rows = 1; rows < 5000; ++rows) {
    EXPECT_GE(FilledUp(rows), rows);
    EXPECT_LE(FilledUp(rows) * 8, rows * 9);
    EXPECT_LT(FilledUp(rows) - rows, RowUnit(FilledUp(5000)));
    EXPECT_EQ(FilledUp(FilledUp(rows)), FilledUp(rows));
  }
}

TEST_F(SearchBatchTest, LooksForAsManyMoreAsAreExcluded) {
  options_.search.beam_size = 2;
  options_.search.min_length = 5;
  options_.search.forbidden_tokens = {2, 3, 4};
  Start({{5, {}, -1}});
  Prepare();
  EXPECT_EQ(work_.k, 2 + 3 + 1);
  EXPECT_FALSE(work_.has_excluded);
  Advance({kEos, 2, 6, 3, 7, 8});
  Prepare();
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{6, 7}));
}

TEST_F(SearchBatchTest, ListsWhatIsExcludedIfItIsTooMuch) {
  options_.search.beam_size = 2;
  options_.search.no_repeat_ngram_size = 1;
  for (int32_t i = 100; i < 230; ++i) options_.search.forbidden_tokens.push_back(i);
  Start({{5, {}, -1}});
  Prepare();
  EXPECT_TRUE(work_.has_excluded);
  EXPECT_EQ(work_.k, 2);
  EXPECT_EQ(Listed(inputs_.excluded_begin, inputs_.excluded_end, 0),
            options_.search.forbidden_tokens);
  Advance({6, 7});
  Prepare();
  Ints expected = {7};
  expected.insert(expected.end(), options_.search.forbidden_tokens.begin(),
                  options_.search.forbidden_tokens.end());
  EXPECT_EQ(Listed(inputs_.excluded_begin, inputs_.excluded_end, 1), expected);
  EXPECT_LE(work_.listed, searches().limits().listed);
}

TEST_F(SearchBatchTest, GoesOnBehindPrompts) {
  options_.search.beam_size = 2;
  options_.search.max_length = 4;
  Start({{5, {}, -1}, {6, {8, 9}, -1}, {7, {3}, -1}});
  const FirstPaths paths = searches().PathsOfPrompts();
  EXPECT_EQ(paths.lengths, (Ints{0, 2, 1}));
  EXPECT_EQ(Ints(paths.slots.begin() + 4, paths.slots.begin() + 6), (Ints{2, 2}));
  EXPECT_EQ(paths.slots[8], 4);
  ReadPrompts(-3.0f);
  Prepare();
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{5, 9, 3}));
  EXPECT_EQ(Rows(inputs_.positions), (Ints{0, 2, 1}));
  EXPECT_EQ(Rows(inputs_.parents), (Ints{0, 1, 2}));
  EXPECT_EQ(Rows(inputs_.slots), (Ints{0, 2, 4}));
  EXPECT_EQ(inputs_.counters[1].position, 2u);
  Advance({kEos, 4});
  Prepare();
  EXPECT_EQ(Rows(inputs_.positions), (Ints{1, 3, 2}));
  const std::vector<Found> found = searches().Results()[1];
  EXPECT_EQ(found[0].tokens, (Ints{8, 9, kEos}));
  EXPECT_EQ(found[0].log_probs, (std::vector<float>{-3.0f, -3.0f, -std::log(2.0f)}));
}

TEST_F(SearchBatchTest, LeavesOutThoseThatEndWithTheirPrompts) {
  options_.search.beam_size = 1;
  options_.search.max_length = 3;
  Start({{5, {8, kEos, 9}, -1}, {6, {4}, -1}, {7, {1, 2, 3, 4}, -1}});
  ReadPrompts(-1.0f);
  Prepare();
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{4}));
  EXPECT_EQ(Rows(inputs_.parents), (Ints{1}));
  EXPECT_EQ(searches().Results()[0][0].tokens, (Ints{8, kEos}));
  EXPECT_EQ(searches().Results()[2][0].tokens, (Ints{1, 2, 3}));
}

TEST_F(SearchBatchTest, EndsWhereThePromptMayNotGoOn) {
  options_.search.beam_size = 1;
  Start({{5, {8, 9}, -1}});
  ReadPrompts(-std::numeric_limits<float>::infinity());
  EXPECT_TRUE(searches().done());
  EXPECT_TRUE(searches().Results()[0][0].tokens.empty());
}

TEST_F(SearchBatchTest, SamplesOfASentenceShareItsPrompt) {
  options_.search.beam_size = options_.search.num_hypotheses = 1;
  options_.samples = 2;
  Start({{5, {}, -1}, {6, {8}, -1}});
  const FirstPaths paths = searches().PathsOfPrompts();
  EXPECT_EQ(paths.lengths, (Ints{0, 0, 1, 1}));
  EXPECT_EQ(paths.slots[2 * searches().max_length()], 2);
  EXPECT_EQ(paths.slots[3 * searches().max_length()], 2);
  ReadPrompts(-1.0f);
  Prepare();
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{5, 5, 8, 8}));
  EXPECT_EQ(Rows(inputs_.slots), (Ints{0, 1, 2, 3}));
}

TEST_F(SearchBatchTest, ListsTokensThatWereThereOnce) {
  options_.search.beam_size = 1;
  options_.repetition_penalty = 2.0f;
  Start({{5, {8, 8, 3}, -1}, {5, {}, -1}});
  ReadPrompts(-1.0f);
  Prepare();
  EXPECT_EQ(Listed(inputs_.penalized_begin, inputs_.penalized_end, 0), (Ints{3, 8}));
  EXPECT_EQ(Listed(inputs_.penalized_begin, inputs_.penalized_end, 1), (Ints{}));
}

TEST_F(SearchBatchTest, CountsSamplesOfASentence) {
  options_.search.beam_size = options_.search.num_hypotheses = 1;
  options_.samples = 2;
  Start({{5, {}, -1}, {6, {}, -1}});
  Prepare();
  EXPECT_EQ(Rows(inputs_.tokens), (Ints{5, 5, 6, 6}));
  EXPECT_EQ(Rows(inputs_.slots), (Ints{0, 1, 2, 3}));
  EXPECT_EQ(Rows(inputs_.sentence_of), (Ints{0, 0, 1, 1}));
  EXPECT_EQ(inputs_.counters[3].sample, 1u);
  EXPECT_EQ(inputs_.counters[3].sentence, 1u);
  StepOutputs outputs = NewOutputs();
  for (int i = 0; i < 4; ++i) {
    outputs.ids[i] = i == 2 ? 7 : kEos;
    outputs.logits[i] = -1.0f;  // a log-probability, where tokens are drawn
  }
  searches().Advance(outputs, 0);
  Prepare();
  EXPECT_EQ(inputs_.tokens[0], 7);
  EXPECT_EQ(inputs_.counters[0].position, 1u);
  EXPECT_EQ(searches().Results()[0][0].log_probs, (std::vector<float>{-1.0f}));
}

TEST_F(SearchBatchTest, TellsWhatAStepBrought) {
  using Told = std::vector<std::vector<int>>;
  options_.search.beam_size = options_.search.num_hypotheses = 1;
  options_.search.max_length = 3;
  options_.search.max_extra_length = kNoExtraLength;
  Start({{5, {8, 9}, -1}, {6, {}, -1}, {6, {4, 4, 4}, -1}});
  const auto told = [&] {
    Told tokens;
    for (const NewToken& token : searches().NewTokens()) {
      tokens.push_back({token.sentence, token.sample, token.token, token.is_last});
    }
    return tokens;
  };
  ReadPrompts(-1.0f);
  EXPECT_EQ(told(), (Told{{2, 0, -1, 1}}));  // there is no room behind this prompt
  Prepare();
  Advance({7});
  EXPECT_EQ(told(), (Told{{0, 0, 7, 1}, {1, 0, 7, 0}}));
  EXPECT_FLOAT_EQ(searches().NewTokens()[0].log_prob, -std::log(2.0f));
  Prepare();
  Advance({kEos});
  EXPECT_EQ(told(), (Told{{1, 0, kEos, 1}}));
  EXPECT_TRUE(searches().done());
}

TEST_F(SearchBatchTest, TellsOfHypothesesThatNothingMayFollow) {
  options_.search.beam_size = options_.search.num_hypotheses = 1;
  options_.samples = 2;
  Start({{5, {}, -1}});
  Prepare();
  StepOutputs outputs = NewOutputs();
  outputs.ids[0] = 7;
  outputs.logits[0] = -1.0f;
  outputs.ids[1] = -1;
  searches().Advance(outputs, 0);
  const std::vector<NewToken> told = searches().NewTokens();
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].token, 7);
  EXPECT_FALSE(told[0].is_last);
  EXPECT_EQ(told[1].sample, 1);
  EXPECT_EQ(told[1].token, -1);
  EXPECT_TRUE(told[1].is_last);
}

TEST_F(SearchBatchTest, TellsOfLogitsThatAreNone) {
  options_.search.beam_size = 2;
  Start({{5, {}, -1}, {6, {}, -1}});
  Prepare();
  Advance({3, 4});
  Prepare();
  StepOutputs outputs = NewOutputs();
  *outputs.bad_row = 2;
  try {
    searches().Advance(outputs, 0);
    FAIL() << "nothing was thrown";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("sentence 1 at position 1"), std::string::npos);
  }
}

TEST_F(SearchBatchTest, TellsOfPromptsWithoutProbabilities) {
  options_.search.beam_size = 2;
  Start({{5, {}, -1}, {6, {8, 9}, -1}});
  const PromptRows rows = PiecesOfPrompts(options_, sentences_, 100)[0];
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  try {
    searches().TakePrompts(rows, {{0.0f, 0.0f}, {0.0, kNaN}, {}, 0});
    FAIL() << "nothing was thrown";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("sentence 1 at position 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace tf_ls
