#include <algorithm>

#include "cc/kernels/equal_offsets.h"

namespace tf_ls {

void EqualOffsets(const Cpu&, int64_t count, int64_t length, int32_t* offsets, int32_t* lengths) {
  for (int64_t i = 0; i <= count; ++i) offsets[i] = static_cast<int32_t>(i * length);
  std::fill(lengths, lengths + count, static_cast<int32_t>(length));
}

}  // namespace tf_ls
