#ifndef TF_LS_CC_KERNELS_GPU_COUNTING_ROWS_CU_H_
#define TF_LS_CC_KERNELS_GPU_COUNTING_ROWS_CU_H_

#include <cstdint>

#include "cc/kernels/cross_entropy.h"
#include "cc/kernels/output_projection.h"

namespace tf_ls {
namespace gpu {

// Calls body(position, weight) for the rows that belong somewhere and whose weight is not 0, on the
// threads of the only block.
template <typename Body>
__device__ void ForEachCountingRow(const OutputProjectionShape& shape, const float* weights,
                                   const Body& body) {
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < shape.rows; i += blockDim.x) {
    const int32_t position = shape.indices[i];
    const float weight = position < 0 ? 0.0f : weights[position];
    if (weight != 0.0f) body(position, weight);
  }
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_COUNTING_ROWS_CU_H_
