#ifndef TF_LS_CC_KERNELS_CAST_WEIGHTS_H_
#define TF_LS_CC_KERNELS_CAST_WEIGHTS_H_

#include <cstdint>
#include <type_traits>
#include <vector>

#include "cc/core/gpu.h"
#include "cc/core/weight_casts.h"

namespace tf_ls {

struct WeightPiece {
  const float* data;
  int64_t count;
};

// Casts weights to T, all in one launch, into memory of the arena. Cost: reads 4, writes sizeof(T)
// bytes a number. (The CPU casts while it lays weights out for the product.)
template <typename T>
void CastWeights(const Gpu& gpu, const std::vector<WeightPiece>& weights, WeightCasts* casts);

// A weight of `count` numbers in T: itself, the copy that gpu.weight_casts has, or one made now, in
// the arena. Null if it is null.
template <typename T>
const T* CastWeight(const Gpu& gpu, const float* weight, int64_t count) {
  if constexpr (std::is_same<T, float>::value) {
    return weight;
  } else {
    if (weight == nullptr) return nullptr;
    if (gpu.weight_casts != nullptr) {
      const void* const known = gpu.weight_casts->Find(weight);
      if (known != nullptr) return static_cast<const T*>(known);
    }
    WeightCasts cast;
    CastWeights<T>(gpu, {{weight, count}}, &cast);
    return static_cast<const T*>(cast.Find(weight));
  }
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CAST_WEIGHTS_H_
