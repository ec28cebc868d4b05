#ifndef TF_LS_CC_KERNELS_CAST_NUMBERS_H_
#define TF_LS_CC_KERNELS_CAST_NUMBERS_H_

#include <cstdint>

#include "cc/core/gpu.h"

namespace tf_ls {

// to[i] = from[i], between float32 and a half type; rounds to nearest, ties to even. (For
// operations whose weights are of a half type; layers take float32.) Cost: reads and writes each
// number once.
template <typename From, typename To>
void CastNumbers(const Gpu& gpu, const From* from, int64_t count, To* to);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CAST_NUMBERS_H_
