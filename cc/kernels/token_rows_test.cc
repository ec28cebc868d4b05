#include "cc/kernels/token_rows.h"

#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

constexpr int64_t kVocabSize = 9;
constexpr int64_t kLength = 4;

struct Found {
  int64_t first_bad;
  std::vector<int32_t> ids, positions;
};

Found Find(const std::vector<int64_t>& ids, const std::vector<int32_t>* indices,
           int64_t max_length = kLength) {
  const int64_t count = ids.size();
  const int64_t rows = indices == nullptr ? count : indices->size();
  Found found{0, std::vector<int32_t>(rows, -7), std::vector<int32_t>(rows, -7)};
  found.first_bad =
      FindTokens({ids.data(), count, kLength, rows, indices == nullptr ? nullptr : indices->data()},
                 kVocabSize, max_length, found.ids.data(), found.positions.data());
  return found;
}

TEST(FindTokensTest, TakesRowsFromWhereTheirIndicesSay) {
  const std::vector<int64_t> ids = {8, 7, 100, -3, 4, 5, 6, 0};
  const std::vector<int32_t> indices = {0, 1, 4, 5, 7, -1, -1};  // padding may hold anything
  const Found found = Find(ids, &indices);
  EXPECT_EQ(found.first_bad, 7);
  EXPECT_EQ(found.ids, (std::vector<int32_t>{8, 7, 4, 5, 0, -1, -1}));
  EXPECT_EQ(found.positions, (std::vector<int32_t>{0, 1, 0, 1, 3, 0, 0}));
}

TEST(FindTokensTest, TakesEveryTokenWithoutIndices) {
  const std::vector<int64_t> ids = {8, 7, 1, 3, 4, 5, 6, 0};
  const Found found = Find(ids, nullptr);
  EXPECT_EQ(found.first_bad, 8);
  EXPECT_EQ(found.ids, (std::vector<int32_t>{8, 7, 1, 3, 4, 5, 6, 0}));
  EXPECT_EQ(found.positions, (std::vector<int32_t>{0, 1, 2, 3, 0, 1, 2, 3}));
}

TEST(FindTokensTest, NamesTheFirstBadRow) {
  const std::vector<int64_t> good = {8, 7, 1, 3};
  EXPECT_EQ(Find({8, 7, kVocabSize, -1}, nullptr).first_bad, 2);
  EXPECT_EQ(Find({8, -1, 1, 3}, nullptr).first_bad, 1);
  EXPECT_EQ(Find(good, nullptr, /*max_length=*/3).first_bad, 3);
  const std::vector<int32_t> beyond = {0, 4}, below = {0, 1, -2};
  EXPECT_EQ(Find(good, &beyond).first_bad, 1);
  EXPECT_EQ(Find(good, &below).first_bad, 2);
}

TEST(FindTokensTest, SeesIdsThatDoNotFitInto32Bits) {
  EXPECT_EQ(Find({0, int64_t{1} << 32, 0, 0}, nullptr).first_bad, 1);
}

}  // namespace
}  // namespace tf_ls
