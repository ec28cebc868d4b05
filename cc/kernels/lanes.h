#ifndef TF_LS_CC_KERNELS_LANES_H_
#define TF_LS_CC_KERNELS_LANES_H_

#include <cstdint>
#include <cstring>

#include "cc/core/bfloat16.h"
#include "cc/core/multiversion.h"

// Vectors for loops that the compiler does not see through, as the widest processors have them;
// others take them in parts. For what is multiversioned.
namespace tf_ls {

constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef uint32_t LaneBits __attribute__((vector_size(kLanes * sizeof(uint32_t))));

TF_LS_INLINE Lanes LoadLanes(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

TF_LS_INLINE Lanes ToLanes(LaneBits bits) {
  Lanes lanes;
  std::memcpy(&lanes, &bits, sizeof(lanes));
  return lanes;
}

// A bfloat16 is the upper half of a float.
TF_LS_INLINE Lanes LoadLanes(const bfloat16* from) {
  typedef uint16_t Halves __attribute__((vector_size(kLanes * sizeof(uint16_t))));
  static_assert(sizeof(bfloat16) == sizeof(uint16_t), "nothing but its bits");
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return ToLanes(__builtin_convertvector(halves, LaneBits) << 16);
}

// Of kLanes pairs the first and the second numbers.
struct LanePairs {
  Lanes first, second;
};
TF_LS_INLINE LanePairs LoadLanePairs(const bfloat16* from) {
  LaneBits bits;
  std::memcpy(&bits, from, sizeof(bits));
  return {ToLanes(bits << 16), ToLanes(bits & 0xffff0000u)};
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_LANES_H_
