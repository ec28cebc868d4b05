#ifndef TF_LS_CC_KERNELS_SCALE_H_
#define TF_LS_CC_KERNELS_SCALE_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// y = factor * x, rounded to T once: what a gradient kept in float32 becomes in the end. y may be
// x. Cost: reads x and writes y once.
template <typename T>
void Scale(const Cpu& cpu, const float* x, int64_t count, float factor, T* y);
template <typename T>
void Scale(const Gpu& gpu, const float* x, int64_t count, float factor, T* y);
// With a factor in the device's memory.
template <typename T>
void Scale(const Cpu& cpu, const float* x, int64_t count, const float* factor, T* y);
template <typename T>
void Scale(const Gpu& gpu, const float* x, int64_t count, const float* factor, T* y);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_SCALE_H_
