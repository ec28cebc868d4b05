#ifndef TF_LS_CC_CORE_BFLOAT16_H_
#define TF_LS_CC_CORE_BFLOAT16_H_

#include <cstdint>
#include <cstring>

namespace tf_ls {

// The upper half of a float32. Same bits as TensorFlow's and oneDNN's type of that name.
struct bfloat16 {
  uint16_t bits;
};

inline float ToFloat(float value) { return value; }

inline float ToFloat(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// Rounds to nearest, ties to even; a NaN stays one.
inline bfloat16 ToBfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_BFLOAT16_H_
