#include <algorithm>

#include "cc/kernels/row_access.h"
#include "cc/kernels/row_math.h"
#include "cc/kernels/scale.h"

namespace tf_ls {

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

template <typename T>
void Scale(const Cpu& cpu, const float* x, int64_t count, const float* factor, T* y) {
  Scale(cpu, x, count, *factor, y);
}

template void Scale(const Cpu&, const float*, int64_t, float, float*);
template void Scale(const Cpu&, const float*, int64_t, float, bfloat16*);
template void Scale(const Cpu&, const float*, int64_t, const float*, float*);
template void Scale(const Cpu&, const float*, int64_t, const float*, bfloat16*);

}  // namespace tf_ls
