#ifndef TF_LS_CC_KERNELS_PACK_H_
#define TF_LS_CC_KERNELS_PACK_H_

#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// Between the positions of a padded batch, and rows without padding: indices[rows] says which
// position a row is at, -1 for none. No two rows are at the same position. Who calls checks that
// indices are in range; one that is not touches no memory that is not its own.

// y[i] = x[indices[i]] on rows of row_bytes bytes; zeros where the index is -1, NaN (0xff in every
// byte) where it is out of range. x has `positions` rows. Cost: reads and writes `rows` rows.
void PackRows(const Cpu& cpu, const void* x, int64_t positions, const int32_t* indices,
              int64_t rows, int64_t row_bytes, void* y);
void PackRows(const Gpu& gpu, const void* x, int64_t positions, const int32_t* indices,
              int64_t rows, int64_t row_bytes, void* y);

// y[indices[i]] = x[i]; zeros where no row belongs. y has `positions` rows; a row whose index is
// out of range is left out. The gradient of PackRows, and the other way round. Cost: reads `rows`
// rows, writes all positions.
void UnpackRows(const Cpu& cpu, const void* x, const int32_t* indices, int64_t rows,
                int64_t row_bytes, int64_t positions, void* y);
void UnpackRows(const Gpu& gpu, const void* x, const int32_t* indices, int64_t rows,
                int64_t row_bytes, int64_t positions, void* y);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_PACK_H_
