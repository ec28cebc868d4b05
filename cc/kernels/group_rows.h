#ifndef TF_LS_CC_KERNELS_GROUP_ROWS_H_
#define TF_LS_CC_KERNELS_GROUP_ROWS_H_

#include <cstdint>

#include "cc/core/gpu.h"

namespace tf_ls {

// Rows by groups, in the GPU's memory: those of group i are order[starts[i]] to
// order[starts[i + 1] - 1], in ascending order.
struct RowGroups {
  const int32_t* starts;  // [groups + 1]
  const int32_t* order;   // [rows]; those of no group come last
};

// Groups rows of the same key on the GPU; the result is the arena's. keys[rows] are from 0 to
// `groups`, which stands for no group. Sums in the order of a group need no atomics and are the
// same in every run.
//
// Cost: a radix sort of the bits that `groups` has, about 20 bytes a row for each 8 of them, and a
// binary search for each group.
RowGroups GroupRows(const Gpu& gpu, const int32_t* keys, int32_t rows, int32_t groups);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GROUP_ROWS_H_
