#ifndef TF_LS_CC_KERNELS_CAST_WEIGHTS_H_
#define TF_LS_CC_KERNELS_CAST_WEIGHTS_H_

#include <cstdint>
#include <type_traits>
#include <variant>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/gpu.h"
#include "cc/core/weight_casts.h"

namespace tf_ls {

// How many bytes copies of weights in T take, one after the other; what is of T is its own copy. In
// `memory` they are made known to `casts`; null to measure.
template <typename T>
size_t PlaceCasts(const std::vector<WeightPiece>& weights, const void* memory, WeightCasts* casts) {
  BufferCutter cutter(const_cast<void*>(memory));  // which nobody writes to
  for (const WeightPiece& weight : weights) {
    const T* const* const own = std::get_if<const T*>(&weight.numbers);
    const T* const copy = own != nullptr ? *own : cutter.Cut<T>(weight.count());
    if (casts != nullptr) casts->Add(weight.name(), copy);
  }
  return cutter.used();
}

// Writes these copies, of float32 weights all in one launch, of each in int8 in one of its own.
// Cost: reads 4 bytes or one, writes sizeof(T) bytes a number.
template <typename T>
void CastWeights(const Gpu& gpu, const std::vector<WeightPiece>& weights, void* memory);

// A weight of `count` numbers in T: itself, the copy that gpu.weight_casts has, or one made now, in
// the arena. Null if it is null.
template <typename T>
const T* CastWeight(const Gpu& gpu, const float* weight, int64_t count) {
  if (weight == nullptr) return nullptr;
  if (gpu.weight_casts != nullptr) {
    const void* const known = gpu.weight_casts->Find(weight);
    if (known != nullptr) return static_cast<const T*>(known);
  }
  if constexpr (std::is_same<T, float>::value) {
    return weight;
  } else {
    T* const copy = gpu.arena->Allocate<T>(count);
    CastWeights<T>(gpu, {{weight, 1, count}}, copy);
    return copy;
  }
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CAST_WEIGHTS_H_
