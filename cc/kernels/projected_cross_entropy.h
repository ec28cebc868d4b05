#ifndef TF_LS_CC_KERNELS_PROJECTED_CROSS_ENTROPY_H_
#define TF_LS_CC_KERNELS_PROJECTED_CROSS_ENTROPY_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/cross_entropy.h"
#include "cc/kernels/output_projection.h"

namespace tf_ls {

// The gradient of sum(dlosses * losses + dnlls * nlls), all float32.
struct ProjectionGradient {
  const float* dlosses;  // [positions], or null: ones
  const float* dnlls;    // [positions], or null: zeros
  float* dx;             // [rows, H]
  float* dweights;       // [V, H]
  float* dbias;          // [V], or null
};

// CrossEntropy of the logits that OutputProjection makes, of which there are never more than some
// hundred rows at a time, on the GPU 2,048 rows and 256 MB: shape.indices say which position, and
// so which target, a row has; no two rows may have the same one. losses and nlls: [positions].
// Where no row belongs logits are zero.
//
// With a `gradient` the logits become their own gradient before they are dropped: 6 * rows * H * V
// flops. Making the logits again in the backward pass would take 8. Without (null) 2.
//
// Logits and all sums are float32; their gradient is rounded to T for the products. (float16 gets
// it times a power of two that brings the largest close to what float16 holds.)
template <typename T>
void ProjectedCrossEntropy(const Cpu& cpu, const OutputProjectionShape& shape,
                           const CrossEntropyTargets& targets, const T* x, const float* weights,
                           const float* bias, float* losses, float* nlls,
                           const ProjectionGradient* gradient);
template <typename T>
void ProjectedCrossEntropy(const Gpu& gpu, const OutputProjectionShape& shape,
                           const CrossEntropyTargets& targets, const T* x, const float* weights,
                           const float* bias, float* losses, float* nlls,
                           const ProjectionGradient* gradient);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_PROJECTED_CROSS_ENTROPY_H_
