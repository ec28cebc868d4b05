#ifndef TF_LS_CC_CORE_GPU_H_
#define TF_LS_CC_CORE_GPU_H_

#include "cc/core/arena.h"
#include "cc/core/weight_casts.h"

struct CUstream_st;

namespace tf_ls {

// A GPU as a device: kernels are overloaded on the device that they are handed. All pointers that
// they take are to its memory, and they run in the stream's order.
struct Gpu {
  CUstream_st* stream;
  Arena* arena;
  // Whether float32 products may round their factors to TF32 (10 bits behind the point).
  bool allow_tf32 = false;
  // Weights that are cast already; others are cast where they are used.
  const WeightCasts* weight_casts = nullptr;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_GPU_H_
