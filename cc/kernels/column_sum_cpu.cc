#include "cc/kernels/column_sum.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_sum.h"

namespace tf_ls {

template <typename T>
void ColumnSum(const Cpu& cpu, const T* x, int64_t rows, int64_t n, float* y,
               ColumnSums<Cpu>* /*sums*/) {
  SumRows(
      cpu, rows, n, /*cost=*/1,
      [&](int64_t i) { return ReadRow(x + i * n, n, ThreadBuffer<0>(n)); }, y);
}

template void ColumnSum(const Cpu&, const float*, int64_t, int64_t, float*, ColumnSums<Cpu>*);
template void ColumnSum(const Cpu&, const bfloat16*, int64_t, int64_t, float*, ColumnSums<Cpu>*);

}  // namespace tf_ls
