#include "cc/decoding/beam_search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using Tokens = std::vector<int32_t>;
// Probabilities of what follows tokens.
using Model = std::function<std::vector<double>(const Tokens&)>;

constexpr int32_t kEos = 0;

SearchOptions Options(int beam_size) {
  SearchOptions options;
  options.eos = kEos;
  options.beam_size = options.num_hypotheses = beam_size;
  return options;
}

// What a step of the model brings for a row: its best candidates among those that may come, or a
// token that is forced, unless that is negative.
std::vector<Candidate> CandidatesOf(const BeamSearch& search, int row, const Model& model,
                                    std::vector<int32_t> excluded, int32_t forced) {
  search.AddExcluded(row, &excluded);
  const std::vector<double> probabilities = model(search.Tokens(row));
  std::vector<Candidate> candidates;
  for (int32_t token = 0; token < static_cast<int32_t>(probabilities.size()); ++token) {
    const bool may_come =
        forced >= 0 ? token == forced : std::count(excluded.begin(), excluded.end(), token) == 0;
    if (may_come && probabilities[token] > 0.0) {
      candidates.push_back({token, static_cast<float>(std::log(probabilities[token]))});
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.log_prob > b.log_prob; });
  if (static_cast<int>(candidates.size()) > search.candidate_count()) {
    candidates.resize(search.candidate_count());
  }
  return candidates;
}

void Advance(const std::vector<std::vector<Candidate>>& candidates, const float* attention,
             BeamSearch* search) {
  std::vector<RowCandidates> rows;
  for (const auto& row : candidates) {
    rows.push_back({row.data(), static_cast<int>(row.size()), attention});
  }
  search->Advance(rows.data());
}

std::vector<Found> Search(const SearchOptions& options, const Model& model,
                          const Tokens& prefix = {}, int source_length = -1,
                          const std::vector<float>& attention = {}) {
  BeamSearch search(options, source_length);
  while (!search.done()) {
    const auto length = static_cast<size_t>(search.length());
    const int32_t forced = length < prefix.size() ? prefix[length] : -1;
    std::vector<std::vector<Candidate>> candidates;
    for (int row = 0; row < search.row_count(); ++row) {
      candidates.push_back(CandidatesOf(search, row, model, options.forbidden_tokens, forced));
    }
    Advance(candidates, attention.data(), &search);
  }
  return search.Results();
}

// The same probabilities whatever came before.
Model Always(std::vector<double> probabilities) {
  return [probabilities](const Tokens&) { return probabilities; };
}

std::vector<Tokens> TokensOf(const std::vector<Found>& results) {
  std::vector<Tokens> tokens;
  for (const Found& found : results) tokens.push_back(found.tokens);
  return tokens;
}

TEST(BeamSearchTest, FollowsTheBestTokenWithOneBeam) {
  const Model model = [](const Tokens& tokens) -> std::vector<double> {
    if (tokens.empty()) return {0.1, 0.5, 0.4};
    if (tokens.size() == 1) return {0.3, 0.1, 0.6};
    return {0.8, 0.1, 0.1};
  };
  const std::vector<Found> results = Search(Options(1), model);
  ASSERT_EQ(TokensOf(results), (std::vector<Tokens>{{1, 2, kEos}}));
  EXPECT_NEAR(results[0].log_probs[1], std::log(0.6), 1e-6);
  EXPECT_NEAR(results[0].score, std::log(0.5 * 0.6 * 0.8) / std::pow(8.0 / 6.0, 0.6), 1e-6);
}

TEST(BeamSearchTest, FindsWhatGreedySearchMisses) {
  const Model model = [](const Tokens& tokens) -> std::vector<double> {
    if (tokens.empty()) return {0.0, 0.6, 0.4};
    if (tokens[0] == 1) return {0.4, 0.3, 0.3};
    return {0.9, 0.05, 0.05};
  };
  EXPECT_EQ(Search(Options(1), model)[0].tokens, (Tokens{1, kEos}));
  EXPECT_EQ(Search(Options(2), model)[0].tokens, (Tokens{2, kEos}));
}

TEST(BeamSearchTest, LeavesFinishedHypothesesInTheBeamWhileTheyAreAmongTheBest) {
  // Nothing is gained by going on, so the search ends as soon as two have ended.
  int steps = 0;
  const Model model = [&](const Tokens&) -> std::vector<double> {
    ++steps;
    return {0.5, 0.3, 0.2};
  };
  EXPECT_EQ(TokensOf(Search(Options(2), model)), (std::vector<Tokens>{{kEos}, {1, kEos}}));
  EXPECT_EQ(steps, 2);
}

TEST(BeamSearchTest, StopsEarlyWhenItHasEnoughFinishedHypotheses) {
  SearchOptions options = Options(2);
  options.early_stopping = true;
  EXPECT_EQ(TokensOf(Search(options, Always({0.5, 0.3, 0.2}))),
            (std::vector<Tokens>{{kEos}, {1, kEos}}));
  options.patience = 2.0;
  options.num_hypotheses = 4;
  EXPECT_EQ(Search(options, Always({0.5, 0.3, 0.2})).size(), 4u);
}

TEST(BeamSearchTest, EndsAtTheMaximumLength) {
  SearchOptions options = Options(1);
  options.max_length = 3;
  EXPECT_EQ(Search(options, Always({0.1, 0.9}))[0].tokens, (Tokens{1, 1, 1}));
  options.max_extra_length = 1;
  EXPECT_EQ(Search(options, Always({0.1, 0.9}), {}, /*source_length=*/1)[0].tokens, (Tokens{1, 1}));
  options.min_length = 3;
  EXPECT_EQ(Search(options, Always({0.9, 0.1}), {}, /*source_length=*/1)[0].tokens,
            (Tokens{1, 1, kEos}));
}

TEST(BeamSearchTest, BeginsWithThePrefix) {
  const std::vector<Found> results = Search(Options(2), Always({0.6, 0.3, 0.1}), {2, 2});
  for (const Found& found : results) {
    EXPECT_EQ(Tokens(found.tokens.begin(), found.tokens.begin() + 2), (Tokens{2, 2}));
  }
  EXPECT_NEAR(results[0].log_probs[0], std::log(0.1), 1e-6);
}

TEST(BeamSearchTest, NeverChoosesWhatIsForbidden) {
  SearchOptions options = Options(2);
  options.forbidden_tokens = {1};
  options.max_length = 4;
  for (const Found& found : Search(options, Always({0.1, 0.8, 0.1}))) {
    EXPECT_EQ(std::count(found.tokens.begin(), found.tokens.end(), 1), 0);
  }
}

TEST(BeamSearchTest, RepeatsNoNgram) {
  SearchOptions options = Options(1);
  options.max_length = 5;
  options.no_repeat_ngram_size = 2;
  EXPECT_EQ(Search(options, Always({0.1, 0.6, 0.3}))[0].tokens, (Tokens{1, 1, 2, 1, kEos}));
  options.no_repeat_ngram_size = 1;
  EXPECT_EQ(Search(options, Always({0.1, 0.6, 0.3}))[0].tokens, (Tokens{1, 2, kEos}));
}

TEST(BeamSearchTest, EndsWhereNothingMayFollow) {
  SearchOptions options = Options(2);
  options.no_repeat_ngram_size = 1;
  options.min_length = 9;
  EXPECT_EQ(TokensOf(Search(options, Always({0.2, 0.5, 0.3}))),
            (std::vector<Tokens>{{1, 2}, {2, 1}}));
}

TEST(BeamSearchTest, TakesTheEarlierHypothesisAndTheLowerTokenOfEquals) {
  SearchOptions options = Options(3);
  options.max_length = 2;
  EXPECT_EQ(TokensOf(Search(options, Always({0.0, 0.25, 0.25, 0.25, 0.25}))),
            (std::vector<Tokens>{{1, 1}, {1, 2}, {1, 3}}));
}

TEST(BeamSearchTest, SaysWhichRowEachRowContinues) {
  const SearchOptions options = Options(2);
  BeamSearch search(options, -1);
  EXPECT_EQ(search.row_count(), 1);
  EXPECT_EQ(search.parents(), (std::vector<int>{0}));
  Advance({{{1, -1.0f}, {2, -1.5f}}}, nullptr, &search);
  EXPECT_EQ(search.parents(), (std::vector<int>{0, 0}));
  Advance({{{3, -5.0f}, {1, -6.0f}}, {{3, -1.0f}, {kEos, -1.1f}}}, nullptr, &search);
  EXPECT_EQ(search.row_count(), 1);  // the other has ended
  EXPECT_EQ(search.parents(), (std::vector<int>{1}));
  EXPECT_EQ(search.Tokens(0), (Tokens{2, 3}));
  EXPECT_EQ(search.LastToken(0), 3);
  EXPECT_EQ(search.length(), 2);
}

TEST(BeamSearchTest, KeepsBeamsApartIfTheyAreToBeDiverse) {
  SearchOptions options = Options(2);
  options.max_length = 2;
  const Model model = [](const Tokens& tokens) -> std::vector<double> {
    if (tokens.empty()) return {0.0, 0.6, 0.4, 0.0};
    if (tokens[0] == 1) return {0.0, 0.5, 0.49, 0.01};
    return {0.0, 0.3, 0.3, 0.4};
  };
  EXPECT_EQ(TokensOf(Search(options, model)), (std::vector<Tokens>{{1, 1}, {1, 2}}));
  options.diversity = 2.0;
  EXPECT_EQ(TokensOf(Search(options, model)), (std::vector<Tokens>{{1, 1}, {2, 3}}));
}

double ScoreOf(LengthPenalty penalty, double alpha) {
  SearchOptions options = Options(1);
  options.length_penalty = penalty;
  options.length_penalty_alpha = alpha;
  const Model model = [](const Tokens& tokens) -> std::vector<double> {
    if (tokens.size() < 2) return {0.1, 0.9};
    return {0.8, 0.2};
  };
  return Search(options, model)[0].score;
}

TEST(BeamSearchTest, DividesByTheLengthPenaltyThatIsNamed) {
  const double log_prob = std::log(0.9 * 0.9 * 0.8);  // of a length of 3
  EXPECT_NEAR(ScoreOf(LengthPenalty::kNeurst, 0.5), log_prob / std::sqrt(8.0 / 6.0), 1e-6);
  EXPECT_NEAR(ScoreOf(LengthPenalty::kNeurst, -1.0), log_prob / 3.0, 1e-6);
  EXPECT_NEAR(ScoreOf(LengthPenalty::kLightseq, 0.5), log_prob / std::sqrt(8.0 / 6.0), 1e-6);
  EXPECT_NEAR(ScoreOf(LengthPenalty::kLightseq, -1.0), log_prob / 2.0, 1e-6);
  EXPECT_NEAR(ScoreOf(LengthPenalty::kExponent, 0.5), log_prob / std::sqrt(3.0), 1e-6);
  EXPECT_NEAR(ScoreOf(LengthPenalty::kNone, 0.5), log_prob, 1e-6);
}

TEST(BeamSearchTest, PenalizesSourcesThatAreNotCovered) {
  SearchOptions options = Options(1);
  options.coverage_penalty = 0.5;
  options.length_penalty = LengthPenalty::kNone;
  options.max_length = 2;
  const Found found = Search(options, Always({0.0, 1.0}), {}, 3, {0.8f, 0.2f, 0.0f})[0];
  EXPECT_NEAR(found.score, 0.5 * (std::log(0.4) + std::log(1e-6)), 1e-5);
}

TEST(BeamSearchTest, ReturnsAttentionOfEachToken) {
  SearchOptions options = Options(2);
  options.max_length = 2;
  options.return_attention = true;
  BeamSearch search(options, /*source_length=*/2);
  const float first[] = {0.1f, 0.9f}, second[] = {0.2f, 0.8f}, third[] = {0.3f, 0.7f};
  const Candidate start[] = {{1, -1.0f}, {2, -1.5f}}, one[] = {{3, -5.0f}}, two[] = {{4, -1.0f}};
  const RowCandidates begin = {start, 2, first};
  search.Advance(&begin);
  const RowCandidates rows[] = {{one, 1, second}, {two, 1, third}};
  search.Advance(rows);
  const std::vector<Found> results = search.Results();
  EXPECT_EQ(results[0].tokens, (Tokens{2, 4}));
  EXPECT_EQ(results[0].attention, (std::vector<float>{0.1f, 0.9f, 0.3f, 0.7f}));
  EXPECT_EQ(results[1].attention, (std::vector<float>{0.1f, 0.9f, 0.2f, 0.8f}));
}

}  // namespace
}  // namespace tf_ls
