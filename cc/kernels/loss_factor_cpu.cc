#include <cmath>

#include "cc/kernels/loss_factor.h"

namespace tf_ls {

void FindLossFactor(const Cpu& /*cpu*/, const OutputProjectionShape& shape,
                    const CrossEntropyTargets& targets, const float* dlosses, const float* dnlls,
                    LossFactor* factor) {
  bool found = false;
  *factor = {1, 0.0f};
  for (int64_t i = 0; i < shape.rows; ++i) {
    const int32_t position = shape.indices[i];
    if (position < 0 || targets.weights[position] == 0.0f) continue;
    if (!found) factor->value = dlosses[position];
    found = true;
    if (dlosses[position] != factor->value || dnlls[position] != 0.0f) factor->exists = 0;
  }
  if (!std::isfinite(factor->value)) factor->exists = 0;
}

}  // namespace tf_ls
