#include "cc/core/float16.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

TEST(Float16Test, EveryNumberSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float16 number{static_cast<uint16_t>(bits)};
    if (std::isnan(ToFloat(number))) {
      EXPECT_TRUE(std::isnan(ToFloat(ToFloat16(ToFloat(number)))));
    } else {
      EXPECT_EQ(ToFloat16(ToFloat(number)).bits, bits);
    }
  }
}

TEST(Float16Test, KnowsSomeNumbers) {
  EXPECT_EQ(ToFloat(float16{0x3c00}), 1.0f);
  EXPECT_EQ(ToFloat(float16{0xc000}), -2.0f);
  EXPECT_EQ(ToFloat(float16{0x7bff}), 65504.0f);
  EXPECT_EQ(ToFloat(float16{0x0001}), std::ldexp(1.0f, -24));
  EXPECT_EQ(ToFloat(float16{0xfc00}), -INFINITY);
}

TEST(Float16Test, HasTheValueThatItsBitsSay) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const int exponent = (bits >> 10) & 0x1f;
    if (exponent == 0x1f) continue;
    const int fraction = bits & 0x3ff;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    ASSERT_EQ(ToFloat(float16{static_cast<uint16_t>(bits)}),
              bits & 0x8000 ? -magnitude : magnitude);
  }
}

TEST(Float16Test, KeepsNaN) {
  for (uint32_t bits = 0x7c01; bits <= 0x7fff; ++bits) {
    ASSERT_TRUE(std::isnan(ToFloat(float16{static_cast<uint16_t>(bits)})));
  }
}

TEST(Float16Test, RoundsToNearestTiesToEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const float below = ToFloat(float16{static_cast<uint16_t>(bits)});
    const float above = ToFloat(float16{static_cast<uint16_t>(bits + 1)});
    const float middle = (below + above) / 2;  // exact in float32
    EXPECT_EQ(ToFloat16(middle).bits, bits + (bits & 1));
    EXPECT_EQ(ToFloat16(std::nextafter(middle, 0.0f)).bits, bits);
    EXPECT_EQ(ToFloat16(-std::nextafter(middle, 1e9f)).bits, 0x8000u | (bits + 1));
  }
}

TEST(Float16Test, OverflowsToInfinity) {
  EXPECT_EQ(ToFloat16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(ToFloat16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(ToFloat16(-1e30f).bits, 0xfc00);
  EXPECT_EQ(ToFloat16(1e-9f).bits, 0);
}

}  // namespace
}  // namespace tf_ls
