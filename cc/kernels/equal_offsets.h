#ifndef TF_LS_CC_KERNELS_EQUAL_OFFSETS_H_
#define TF_LS_CC_KERNELS_EQUAL_OFFSETS_H_

#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// Where sentences of equal length are, one behind the other: offsets[i] = i * length for i <=
// count, lengths[i] = length for i < count. Cost: writes 8 bytes a sentence.
void EqualOffsets(const Cpu& cpu, int64_t count, int64_t length, int32_t* offsets,
                  int32_t* lengths);
void EqualOffsets(const Gpu& gpu, int64_t count, int64_t length, int32_t* offsets,
                  int32_t* lengths);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_EQUAL_OFFSETS_H_
