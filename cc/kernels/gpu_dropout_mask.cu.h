#ifndef TF_LS_CC_KERNELS_GPU_DROPOUT_MASK_CU_H_
#define TF_LS_CC_KERNELS_GPU_DROPOUT_MASK_CU_H_

#include <cstdint>

#include "cc/core/philox.h"

namespace tf_ls {
namespace gpu {

// A Dropout as kernels take it: what is the same for all numbers is computed before the launch.
// Masks are those of the CPU, bit for bit.
class DropoutMask {
 public:
  explicit DropoutMask(const Dropout& dropout)
      : round_keys_(dropout.seed),
        site_(static_cast<uint32_t>(dropout.site)),
        threshold_(dropout.threshold()),
        scale_(dropout.scale()),
        active_(dropout.active()) {}

  // Multiplies numbers of a row, from a column that is a multiple of 4 on, by their mask; more than
  // one array of them by the same mask. Four numbers take one Philox: 20 wide products.
  template <int count, typename... Values>
  __device__ void Multiply(uint32_t row, uint32_t lane, int64_t column, Values*... values) const {
    static_assert(count % 4 == 0, "a counter makes four random numbers");
    if (!active_) return;
#pragma unroll
    for (int start = 0; start < count; start += 4) {
      uint32_t words[4] = {static_cast<uint32_t>((column + start) / 4), row, lane, site_};
      Philox::Generate(round_keys_, words);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float factor = words[i] < threshold_ ? 0.0f : scale_;
        ((values[start + i] *= factor), ...);
      }
    }
  }

 private:
  Philox::RoundKeys round_keys_;
  uint32_t site_;
  uint32_t threshold_;
  float scale_;
  bool active_;
};

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_DROPOUT_MASK_CU_H_
