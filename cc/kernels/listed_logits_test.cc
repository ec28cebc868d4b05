#include "cc/kernels/listed_logits.h"

#include <limits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Identical;
using test::Random;
using test::TestedDevice;
using test::Testing;

using Ints = std::vector<int32_t>;
using Floats = std::vector<float>;
template <typename T>
using Numbers = Testing<TestedDevice>::Numbers<T>;

constexpr int64_t kRows = 3, kFirst = 10, kCount = 5, kStride = 7, kVocab = 20;

// Lists of three rows; some of their tokens are in front of the piece or behind it.
const Ints kBegins = {0, 3, 3}, kEnds = {3, 3, 6};
const Ints kTokens = {9, 10, 14, 11, 15, 12};
// Where those that are in it lie.
const std::vector<int64_t> kPlaces = {0, 4, 2 * kStride + 1, 2 * kStride + 2};

class ListedLogitsTest : public ::testing::Test {
 protected:
  LogitPiece Piece() { return {logits_.data(), kStride, kRows, kFirst, kCount, kVocab}; }
  TokenLists Lists() const { return {begins_.data(), ends_.data(), tokens_.data()}; }

  const Testing<TestedDevice>::Instance instance_;
  const TestedDevice& device_ = instance_;
  const Floats before_ = Random<float>(kRows * kStride, 1);
  Numbers<float> logits_{before_};
  const Numbers<int32_t> begins_{kBegins}, ends_{kEnds}, tokens_{kTokens};
};

TEST_F(ListedLogitsTest, PenalizesWhatWasThere) {
  Floats expected = before_;
  bool positive = false, negative = false;
  for (const int64_t place : kPlaces) {
    (expected[place] > 0.0f ? positive : negative) = true;
    expected[place] = expected[place] > 0.0f ? expected[place] / 1.5f : expected[place] * 1.5f;
  }
  ASSERT_TRUE(positive && negative);
  PenalizeRepetition(device_, Piece(), Lists(), 1.5f);
  EXPECT_TRUE(Close(logits_.host(), expected, 1e-7));
}

TEST_F(ListedLogitsTest, ExcludesTokens) {
  Floats expected = before_;
  for (const int64_t place : kPlaces) expected[place] = -std::numeric_limits<float>::infinity();
  ExcludeTokens(device_, Piece(), Lists());
  EXPECT_TRUE(Identical(logits_.host(), expected));
}

TEST_F(ListedLogitsTest, GathersOneTokenOfARow) {
  const Numbers<int32_t> wanted(Ints{13, -1, 15});
  Numbers<float> gathered(Floats{7.0f, 8.0f, 9.0f});
  GatherLogits(device_, Piece(), wanted.data(), gathered.data());
  EXPECT_TRUE(Identical(gathered.host(), Floats{before_[3], 8.0f, 9.0f}));
}

TEST_F(ListedLogitsTest, TakesNoRows) {
  const LogitPiece none = {logits_.data(), kStride, 0, kFirst, kCount, kVocab};
  PenalizeRepetition(device_, none, Lists(), 2.0f);
  ExcludeTokens(device_, none, Lists());
  GatherLogits(device_, none, tokens_.data(), logits_.data());
  EXPECT_TRUE(Identical(logits_.host(), before_));
}

}  // namespace
}  // namespace tf_ls
