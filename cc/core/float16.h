#ifndef TF_LS_CC_CORE_FLOAT16_H_
#define TF_LS_CC_CORE_FLOAT16_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace tf_ls {

// IEEE 754's half precision: 1 sign, 5 exponent, 10 fraction bits. Same bits as TensorFlow's and
// CUDA's type. Only GPU kernels compute with it; the CPU reads tables of it.
struct float16 {
  uint16_t bits;
};

// Written without float32 subnormals on the way, which TensorFlow's threads flush to zero: small
// numbers of a table would be lost.
inline float ToFloat(float16 value) {
  const uint32_t exponent = value.bits & 0x7c00u;
  const uint32_t fraction = value.bits & 0x3ffu;
  const float subnormal = static_cast<float>(static_cast<int32_t>(fraction)) * 0x1p-24f;
  uint32_t bits;
  std::memcpy(&bits, &subnormal, sizeof(bits));
  const uint32_t bias = exponent == 0x7c00u ? 224u << 23 : 112u << 23;  // infinity stays infinite
  bits = exponent == 0 ? bits : ((exponent | fraction) << 13) + bias;
  bits |= static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// Rounds to nearest, ties to even; what is too large becomes infinite, a NaN stays one. For tests:
// simple rather than fast.
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
