#include "cc/core/bfloat16.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

uint16_t Rounded(uint32_t float_bits) { return ToBfloat16(FromBits(float_bits)).bits; }

TEST(Bfloat16Test, IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(ToBfloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(ToBfloat16(-2.0f).bits, 0xc000);
  EXPECT_EQ(ToFloat(bfloat16{0x4049}), 3.140625f);
}

TEST(Bfloat16Test, SurvivesTheWayToFloatAndBack) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const bfloat16 value{static_cast<uint16_t>(bits)};
    if (std::isnan(ToFloat(value))) continue;
    ASSERT_EQ(ToBfloat16(ToFloat(value)).bits, bits);
  }
}

TEST(Bfloat16Test, RoundsToTheNearest) {
  EXPECT_EQ(Rounded(0x3f807fff), 0x3f80);
  EXPECT_EQ(Rounded(0x3f808001), 0x3f81);
  EXPECT_EQ(Rounded(0xbf808001), 0xbf81);
  EXPECT_EQ(Rounded(0x3fffffff), 0x4000) << "carries into the exponent";
}

TEST(Bfloat16Test, RoundsTiesToEven) {
  EXPECT_EQ(Rounded(0x3f808000), 0x3f80);
  EXPECT_EQ(Rounded(0x3f818000), 0x3f82);
}

TEST(Bfloat16Test, KeepsTheSignOfZero) {
  EXPECT_EQ(ToBfloat16(0.0f).bits, 0x0000);
  EXPECT_EQ(ToBfloat16(-0.0f).bits, 0x8000);
}

TEST(Bfloat16Test, RoundsSubnormals) {
  EXPECT_EQ(Rounded(0x00008001), 0x0001);
  EXPECT_EQ(Rounded(0x00008000), 0x0000);
}

TEST(Bfloat16Test, KeepsInfinity) {
  EXPECT_EQ(ToFloat(ToBfloat16(kInfinity)), kInfinity);
  EXPECT_EQ(ToFloat(ToBfloat16(-kInfinity)), -kInfinity);
}

TEST(Bfloat16Test, OverflowsToInfinity) {
  EXPECT_EQ(ToFloat(ToBfloat16(std::numeric_limits<float>::max())), kInfinity);
}

TEST(Bfloat16Test, KeepsEveryNaN) {
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    EXPECT_TRUE(std::isnan(ToFloat(ToBfloat16(FromBits(bits))))) << std::hex << bits;
  }
}

}  // namespace
}  // namespace tf_ls
