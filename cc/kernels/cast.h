#ifndef TF_LS_CC_KERNELS_CAST_H_
#define TF_LS_CC_KERNELS_CAST_H_

#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/kernels/row_math.h"

namespace tf_ls {

// Float32 copies in the arena, for processors that multiply nothing else.
inline float* Widen(const Cpu& cpu, const bfloat16* x, int64_t count) {
  float* const wide = cpu.arena->Allocate<float>(count);
  cpu.threads->ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
    row::Load(x + begin, end - begin, wide + begin);
  });
  return wide;
}

inline void Narrow(const Cpu& cpu, const float* wide, int64_t count, bfloat16* x) {
  cpu.threads->ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
    row::Store(wide + begin, end - begin, x + begin);
  });
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CAST_H_
