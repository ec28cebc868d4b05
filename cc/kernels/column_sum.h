#ifndef TF_LS_CC_KERNELS_COLUMN_SUM_H_
#define TF_LS_CC_KERNELS_COLUMN_SUM_H_

#include <cstdint>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// Sums of columns that kernels have begun, to be finished by one launch instead of one each. What a
// kernel that is handed a ColumnSums writes as a sum is there behind Finish() only; what it needs
// until then is in the arena as long as the ColumnSums lives.
template <typename Device>
class ColumnSums;

template <>
class ColumnSums<Gpu> {
 public:
  explicit ColumnSums(const Gpu& gpu) : gpu_(gpu), scope_(gpu.arena) {}

  // total[n] will be the sum of the rows of partial[parts, n].
  void Add(const float* partial, int64_t parts, int64_t n, float* total) {
    pieces_.push_back({partial, parts, n, total});
  }
  void Finish();

 private:
  struct Piece {
    const float* partial;
    int64_t parts;
    int64_t n;
    float* total;
  };

  const Gpu& gpu_;
  const ArenaScope scope_;
  std::vector<Piece> pieces_;
};

// On the CPU sums are there at once.
template <>
class ColumnSums<Cpu> {
 public:
  explicit ColumnSums(const Cpu& cpu) : scope_(cpu.arena) {}
  void Finish() {}

 private:
  const ArenaScope scope_;
};

// y[n] = sum of the rows of x[rows, n], in float32: the gradient of a bias. Cost: reads x once. The
// order of the sum depends on rows and n only.
template <typename T>
void ColumnSum(const Cpu& cpu, const T* x, int64_t rows, int64_t n, float* y,
               ColumnSums<Cpu>* sums);
template <typename T>
void ColumnSum(const Gpu& gpu, const T* x, int64_t rows, int64_t n, float* y,
               ColumnSums<Gpu>* sums);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_COLUMN_SUM_H_
