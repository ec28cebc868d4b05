#include <algorithm>

#include "cc/kernels/append_rows.h"

namespace tf_ls {

template <typename T>
void AppendRows(const Cpu& cpu, const T* x, int64_t batch, int64_t before, HeadRows<const T> rows,
                int64_t added, int64_t n, T* y) {
  cpu.threads->ParallelFor(batch, (before + added) * n / 8 + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* to = std::copy(x + i * before * n, x + (i + 1) * before * n, y + i * (before + added) * n);
      for (int64_t j = i * added; j < (i + 1) * added; ++j) {
        to = std::copy(rows.data + j * rows.stride, rows.data + j * rows.stride + n, to);
      }
    }
  });
}

template void AppendRows(const Cpu&, const float*, int64_t, int64_t, HeadRows<const float>, int64_t,
                         int64_t, float*);
template void AppendRows(const Cpu&, const bfloat16*, int64_t, int64_t, HeadRows<const bfloat16>,
                         int64_t, int64_t, bfloat16*);

}  // namespace tf_ls
