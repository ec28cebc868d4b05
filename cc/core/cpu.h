#ifndef TF_LS_CC_CORE_CPU_H_
#define TF_LS_CC_CORE_CPU_H_

#include "cc/core/arena.h"
#include "cc/core/threads.h"

namespace tf_ls {

class PackedWeights;

// The CPU as a device: kernels are overloaded on the device that they are handed.
struct Cpu {
  Threads* threads;
  Arena* arena;
  // Weights that are laid out for products already; others are where they are used.
  const PackedWeights* packed_weights = nullptr;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_CPU_H_
