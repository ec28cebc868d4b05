#ifndef TF_LS_CC_LAYERS_NORMALIZE_H_
#define TF_LS_CC_LAYERS_NORMALIZE_H_

#include <cstdint>

#include "cc/core/arena.h"
#include "cc/kernels/layer_norm.h"
#include "cc/layers/weights.h"

namespace tf_ls {

// LayerNorm of rows of n numbers, whose moments nobody wants.
template <typename Device, typename T>
void Normalize(const Device& device, LayerNormWeights<const float*> norm, float epsilon, const T* x,
               int64_t rows, int64_t n, T* y) {
  const ArenaScope scope(device.arena);
  const Moments moments = {device.arena->template Allocate<float>(rows),
                           device.arena->template Allocate<float>(rows)};
  LayerNorm(device, x, rows, n, norm.gamma, norm.beta, epsilon, y, moments);
}

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_NORMALIZE_H_
