#include <algorithm>

#include "cc/kernels/append_rows.h"
#include "cc/kernels/row_access.h"

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

template <typename T>
void AppendRowsGradient(const Cpu& cpu, const T* dy1, const T* dy2, int64_t batch, int64_t before,
                        int64_t added, int64_t n, T* dx, HeadRows<T> drows) {
  const int64_t length = before + added;
  ForEachRow(cpu, batch * length, n, 1, [&](int64_t i) {
    const int64_t sentence = i / length;
    const int64_t position = i % length;
    T* const to = position < before
                      ? dx + (sentence * before + position) * n
                      : drows.data + (sentence * added + position - before) * drows.stride;
    float* const buffer = ThreadBuffer<0>(n);
    const float* const a = ReadRow(dy1 + i * n, n, buffer);
    const float* const b = ReadRow(dy2 + i * n, n, ThreadBuffer<1>(n));
    float* const out = RowTarget(to, buffer);
    row::Add(a, b, n, out);
    WriteRow(out, n, to);
  });
}

template void AppendRows(const Cpu&, const float*, int64_t, int64_t, HeadRows<const float>, int64_t,
                         int64_t, float*);
template void AppendRows(const Cpu&, const bfloat16*, int64_t, int64_t, HeadRows<const bfloat16>,
                         int64_t, int64_t, bfloat16*);
template void AppendRowsGradient(const Cpu&, const float*, const float*, int64_t, int64_t, int64_t,
                                 int64_t, float*, HeadRows<float>);
template void AppendRowsGradient(const Cpu&, const bfloat16*, const bfloat16*, int64_t, int64_t,
                                 int64_t, int64_t, bfloat16*, HeadRows<bfloat16>);

}  // namespace tf_ls
