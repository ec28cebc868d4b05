#include "cc/core/philox.h"

#include <array>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using Words = std::array<uint32_t, 4>;

// `key0` is the first word of Random123's key, the lower half of ours.
Words Generate(uint32_t key0, uint32_t key1, Words counter) {
  Philox::Generate(static_cast<uint64_t>(key1) << 32 | key0, counter.data());
  return counter;
}

// The known answers that the authors publish with their Random123 library for philox4x32-10.
TEST(PhiloxTest, GivesThePublishedNumbers) {
  EXPECT_EQ(Generate(0, 0, {0, 0, 0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(Generate(kOnes, kOnes, {kOnes, kOnes, kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Generate(0xa4093822, 0x299f31d0, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(DropoutTest, IsInactiveAtRateZero) {
  EXPECT_FALSE(Dropout().active());
  EXPECT_TRUE((Dropout{0.1f, 1, DropoutSite::kStandalone}.active()));
}

TEST(DropoutTest, ScalesWhatIsKept) {
  EXPECT_EQ((Dropout{0.5f, 1, DropoutSite::kStandalone}.scale()), 2.0f);
  EXPECT_EQ((Dropout{0.75f, 1, DropoutSite::kStandalone}.scale()), 4.0f);
}

TEST(DropoutTest, KeepsNothingAtRateOne) {
  EXPECT_EQ((Dropout{1.0f, 1, DropoutSite::kStandalone}.scale()), 0.0f);
}

TEST(DropoutTest, HasAThresholdProportionalToTheRate) {
  EXPECT_EQ((Dropout{0.5f, 1, DropoutSite::kStandalone}.threshold()), 0x80000000u);
  EXPECT_EQ((Dropout{0.25f, 1, DropoutSite::kStandalone}.threshold()), 0x40000000u);
  EXPECT_EQ((Dropout{0.99999994f, 1, DropoutSite::kStandalone}.threshold()), 0xffffff00u);
}

}  // namespace
}  // namespace tf_ls
