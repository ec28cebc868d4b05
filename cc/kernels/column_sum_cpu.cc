#include <algorithm>

#include "cc/kernels/column_sum.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {

template <typename T>
void ColumnSum(const Cpu& cpu, const T* x, int64_t rows, int64_t n, float* y) {
  const ArenaScope scope(cpu.arena);
  constexpr int64_t kBlockRows = 128;
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  float* const partial = cpu.arena->Allocate<float>(blocks * n);
  cpu.threads->ParallelFor(blocks, kBlockRows * n / 4, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      float* const sum = partial + block * n;
      std::fill(sum, sum + n, 0.0f);
      for (int64_t i = block * kBlockRows; i < std::min(rows, (block + 1) * kBlockRows); ++i) {
        row::Add(sum, ReadRow(x + i * n, n, ThreadBuffer<0>(n)), n, sum);
      }
    }
  });
  std::fill(y, y + n, 0.0f);
  for (int64_t block = 0; block < blocks; ++block) row::Add(y, partial + block * n, n, y);
}

template void ColumnSum(const Cpu&, const float*, int64_t, int64_t, float*);
template void ColumnSum(const Cpu&, const bfloat16*, int64_t, int64_t, float*);

}  // namespace tf_ls
