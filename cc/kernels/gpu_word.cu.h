#ifndef TF_LS_CC_KERNELS_GPU_WORD_CU_H_
#define TF_LS_CC_KERNELS_GPU_WORD_CU_H_

#include <cuda_runtime.h>

#include <cstdint>

// The words of a row of logits, ordered by how probable they are.
namespace tf_ls {
namespace gpu {

// A logit and its id as one number, the larger the better; 0 for none. No two of a row are equal.
using Word = unsigned long long;

// What no word with this logit is less than.
__device__ inline Word LeastWord(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // 0 for -0
  const uint32_t ordered = bits ^ (bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
  return Word{ordered} << 32;
}
__device__ inline Word MakeWord(float logit, int id) {
  return LeastWord(logit) | (0xffffffffu - static_cast<uint32_t>(id));
}
__device__ inline float LogitOf(Word word) {
  const auto ordered = static_cast<uint32_t>(word >> 32);
  return __uint_as_float(ordered >> 31 != 0 ? ordered ^ 0x80000000u : ~ordered);
}
__device__ inline int IdOf(Word word) {
  return static_cast<int>(0xffffffffu - static_cast<uint32_t>(word));
}

// Keeps the lowest row in *bad_row, which is -1, the largest number without a sign, if there is
// none.
__device__ inline void TellOfBadRow(int64_t row, int64_t* bad_row) {
  atomicMin(reinterpret_cast<unsigned long long*>(bad_row), static_cast<unsigned long long>(row));
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_WORD_CU_H_
