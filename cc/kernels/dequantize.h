#ifndef TF_LS_CC_KERNELS_DEQUANTIZE_H_
#define TF_LS_CC_KERNELS_DEQUANTIZE_H_

#include <cstdint>

#include "cc/core/gpu.h"
#include "cc/core/weight_casts.h"

namespace tf_ls {

// to[rows, columns] = number * scale of its output, which is its row if `transposed`, else its
// column. For products that read no int8 themselves; they multiply and add in T's way. Cost: reads
// a byte and writes sizeof(T) bytes a number.
template <typename T>
void Dequantize(const Gpu& gpu, const Int8Numbers& numbers, int64_t rows, int64_t columns,
                bool transposed, T* to);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_DEQUANTIZE_H_
