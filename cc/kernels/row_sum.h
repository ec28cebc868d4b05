#ifndef TF_LS_CC_KERNELS_ROW_SUM_H_
#define TF_LS_CC_KERNELS_ROW_SUM_H_

#include <algorithm>
#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/kernels/row_math.h"

namespace tf_ls {

// total[n] = the sum of the rows row(0), row(1), ..., each n float32 that last until the same
// thread asks for the next one. Rows are made on all threads, `cost` cycles a number, and summed in
// fixed blocks first: the order depends on their number only.
template <typename Row>
void SumRows(const Cpu& cpu, int64_t rows, int64_t n, int64_t cost, const Row& row, float* total) {
  const ArenaScope scope(cpu.arena);
  constexpr int64_t kBlockRows = 128;
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  float* const partial = cpu.arena->Allocate<float>(blocks * n);
  cpu.threads->ParallelFor(blocks, kBlockRows * n * cost, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      float* const sum = partial + block * n;
      std::fill(sum, sum + n, 0.0f);
      for (int64_t i = block * kBlockRows; i < std::min(rows, (block + 1) * kBlockRows); ++i) {
        row::Add(sum, row(i), n, sum);
      }
    }
  });
  std::fill(total, total + n, 0.0f);
  for (int64_t block = 0; block < blocks; ++block) row::Add(total, partial + block * n, n, total);
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ROW_SUM_H_
