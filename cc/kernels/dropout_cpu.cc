#include <algorithm>

#include "cc/kernels/column_sum.h"
#include "cc/kernels/dropout.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_sum.h"

namespace tf_ls {

template <typename T>
void ApplyDropout(const Cpu& cpu, const Dropout& dropout, const T* x, int64_t rows, int64_t n,
                  T* y) {
  if (!dropout.active()) {
    if (x != y) std::copy(x, x + rows * n, y);
    return;
  }
  ForEachRow(cpu, rows, n, 4, [&](int64_t i) {
    float* const mask = ThreadBuffer<0>(n);
    row::DropoutMask(dropout, i, 0, n, mask);
    float* const buffer = ThreadBuffer<1>(n);
    float* const out = RowTarget(y + i * n, buffer);
    row::Multiply(ReadRow(x + i * n, n, buffer), mask, n, out);
    WriteRow(out, n, y + i * n);
  });
}

template <typename T>
void DropoutBiasGradient(const Cpu& cpu, const Dropout& dropout, const T* dy, int64_t rows,
                         int64_t n, T* dx, float* dbias, ColumnSums<Cpu>* sums) {
  if (!dropout.active()) {
    ApplyDropout(cpu, dropout, dy, rows, n, dx);
    return ColumnSum(cpu, dx, rows, n, dbias, sums);
  }
  SumRows(
      cpu, rows, n, /*cost=*/4,
      [&](int64_t i) {
        float* const mask = ThreadBuffer<0>(n);
        row::DropoutMask(dropout, i, 0, n, mask);
        float* const buffer = ThreadBuffer<1>(n);
        float* const out = RowTarget(dx + i * n, buffer);
        row::Multiply(ReadRow(dy + i * n, n, buffer), mask, n, out);
        WriteRow(out, n, dx + i * n);
        return out;
      },
      dbias);
}

template <typename T>
void DropoutAdd(const Cpu& cpu, const Dropout& dropout, const T* x, const T* residual, int64_t rows,
                int64_t n, T* y) {
  ForEachRow(cpu, rows, n, dropout.active() ? 4 : 1, [&](int64_t i) {
    float* const buffer = ThreadBuffer<1>(n);
    const float* const in = ReadRow(x + i * n, n, buffer);
    const float* const base = ReadRow(residual + i * n, n, ThreadBuffer<2>(n));
    float* const out = RowTarget(y + i * n, buffer);
    if (dropout.active()) {
      float* const mask = ThreadBuffer<0>(n);
      row::DropoutMask(dropout, i, 0, n, mask);
      row::MultiplyAdd(base, in, mask, n, out);
    } else {
      row::Add(base, in, n, out);
    }
    WriteRow(out, n, y + i * n);
  });
}

template void ApplyDropout(const Cpu&, const Dropout&, const float*, int64_t, int64_t, float*);
template void ApplyDropout(const Cpu&, const Dropout&, const bfloat16*, int64_t, int64_t,
                           bfloat16*);
template void DropoutBiasGradient(const Cpu&, const Dropout&, const float*, int64_t, int64_t,
                                  float*, float*, ColumnSums<Cpu>*);
template void DropoutBiasGradient(const Cpu&, const Dropout&, const bfloat16*, int64_t, int64_t,
                                  bfloat16*, float*, ColumnSums<Cpu>*);
template void DropoutAdd(const Cpu&, const Dropout&, const float*, const float*, int64_t, int64_t,
                         float*);
template void DropoutAdd(const Cpu&, const Dropout&, const bfloat16*, const bfloat16*, int64_t,
                         int64_t, bfloat16*);

}  // namespace tf_ls
