#ifndef TF_LS_CC_KERNELS_CAST_WEIGHTS_H_
#define TF_LS_CC_KERNELS_CAST_WEIGHTS_H_

#include <cstdint>
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

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CAST_WEIGHTS_H_
