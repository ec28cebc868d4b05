#ifndef TF_LS_CC_KERNELS_OUTPUT_PROJECTION_H_
#define TF_LS_CC_KERNELS_OUTPUT_PROJECTION_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// The projection of packed hidden states onto a vocabulary, whose result is padded again.
struct OutputProjectionShape {
  int64_t rows;  // packed rows
  int64_t hidden_size;
  int64_t vocab_size;
  int64_t positions;       // rows of the padded result
  const int32_t* indices;  // [rows]: where a row belongs in the padded result; -1: nowhere
};

// logits[indices[i]] = x[i] * weights^T + bias; zeros where no row belongs. x: [rows, H], weights:
// [V, H], bias: [V] or null, logits: [positions, V].
//
// Cost: 2 * rows * H * V flops, none for padding; writes the logits once. A block of rows goes
// through a buffer that stays in the second-level cache, since the rows of a block are not
// neighbours in the result.
template <typename T>
void OutputProjection(const Cpu& cpu, const OutputProjectionShape& shape, const T* x,
                      const float* weights, const float* bias, T* logits);
// Multiplies padding as well: 2 * positions * H * V flops.
template <typename T>
void OutputProjection(const Gpu& gpu, const OutputProjectionShape& shape, const T* x,
                      const float* weights, const float* bias, T* logits);

// Writes dx [rows, H], dweights [V, H] and, if not null, dbias [V]. Gradients of logits where no
// row belongs are not looked at. Cost: 4 * rows * H * V flops; reads dlogits twice.
template <typename T>
void OutputProjectionGradient(const Cpu& cpu, const OutputProjectionShape& shape, const T* x,
                              const float* weights, const T* dlogits, T* dx, float* dweights,
                              float* dbias);
// Packs dlogits beforehand, into scratch memory of rows * V numbers.
template <typename T>
void OutputProjectionGradient(const Gpu& gpu, const OutputProjectionShape& shape, const T* x,
                              const float* weights, const T* dlogits, T* dx, float* dweights,
                              float* dbias);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_OUTPUT_PROJECTION_H_
