#ifndef TF_LS_CC_CORE_FLOAT16_H_
#define TF_LS_CC_CORE_FLOAT16_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace tf_ls {

// IEEE 754's half precision: 1 sign, 5 exponent, 10 fraction bits. Same bits as TensorFlow's and
// CUDA's type. Only GPU kernels compute with it.
struct float16 {
  uint16_t bits;
};

// The conversions of the CPU, for tests: simple rather than fast.

inline float ToFloat(float16 value) {
  const int exponent = (value.bits >> 10) & 31;
  const int fraction = value.bits & 1023;
  float magnitude;
  if (exponent == 31) {
    magnitude = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  }
  return std::copysign(magnitude, (value.bits & 0x8000u) != 0 ? -1.0f : 1.0f);
}

// Rounds to nearest, ties to even; what is too large becomes infinite, a NaN stays one.
inline float16 ToFloat16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000u : 0u;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00u)};
  int exponent = 0;
  if (magnitude > 0.0f) std::frexp(magnitude, &exponent);
  // In units of the last place that this magnitude has; a carry goes on into the exponent's bits.
  const int last_place = std::max(exponent - 11, -24);
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -last_place)));
  const uint32_t exponent_bits = units < 1024 ? 0 : static_cast<uint32_t>(last_place + 24) << 10;
  return {static_cast<uint16_t>(sign | (exponent_bits + units))};
}

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_FLOAT16_H_
