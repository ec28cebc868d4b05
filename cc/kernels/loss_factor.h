#ifndef TF_LS_CC_KERNELS_LOSS_FACTOR_H_
#define TF_LS_CC_KERNELS_LOSS_FACTOR_H_

#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/cross_entropy.h"
#include "cc/kernels/output_projection.h"

namespace tf_ls {

// The number that the gradients of all losses are, if there is one: then a gradient that is linear
// in them is that of the sum of the losses times it.
struct LossFactor {
  int32_t exists;
  float value;  // finite if it exists; 0 if no loss counts
};

// Looks at the losses of rows that belong somewhere and whose weight is not 0: whether all of their
// dlosses are the same finite number and their dnlls are 0. dlosses, dnlls: [positions]. All in the
// memory of the device, `factor` too.
//
// Cost: reads 16 bytes a row. On the GPU one block does it, since whoever asks has few rows and
// waits for the answer.
void FindLossFactor(const Cpu& cpu, const OutputProjectionShape& shape,
                    const CrossEntropyTargets& targets, const float* dlosses, const float* dnlls,
                    LossFactor* factor);
void FindLossFactor(const Gpu& gpu, const OutputProjectionShape& shape,
                    const CrossEntropyTargets& targets, const float* dlosses, const float* dnlls,
                    LossFactor* factor);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_LOSS_FACTOR_H_
