#ifndef TF_LS_CC_KERNELS_CAST_H_
#define TF_LS_CC_KERNELS_CAST_H_

#include <algorithm>
#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/kernels/row_access.h"
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

// y = factor * x
template <typename T>
void Scale(const Cpu& cpu, const float* x, int64_t count, float factor, T* y) {
  constexpr int64_t kPiece = 4096;
  cpu.threads->ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kPiece) {
      const int64_t n = std::min(kPiece, end - i);
      float* const target = RowTarget(y + i, ThreadBuffer<23>(kPiece));
      row::Scale(x + i, factor, n, target);
      WriteRow(target, n, y + i);
    }
  });
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CAST_H_
