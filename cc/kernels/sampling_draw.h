#ifndef TF_LS_CC_KERNELS_SAMPLING_DRAW_H_
#define TF_LS_CC_KERNELS_SAMPLING_DRAW_H_

#include <algorithm>
#include <cfloat>
#include <cstdint>

#include "cc/core/arena.h"
#include "cc/core/host_device.h"
#include "cc/kernels/gumbel_noise.h"
#include "cc/kernels/sample_tokens.h"
#include "cc/kernels/top_k.h"

// What SampleTokens does in the same way on every device.
namespace tf_ls {

// What all rows of a call have in common.
struct SamplingDraw {
  explicit SamplingDraw(const SamplingOptions& options)
      : keys(options.seed),
        temperature(options.temperature),
        factor(static_cast<float>(std::min(1.0 / options.temperature, double{FLT_MAX}))),
        top_k(options.top_k),
        top_p(options.top_p) {}

  // What a token competes with; only differences matter, so `top` may be any logit of the row.
  TF_LS_HOST_DEVICE double Sum(float logit, float top, double noise) const {
    return (static_cast<double>(logit) - top) / temperature + noise;
  }

  Philox::RoundKeys keys;
  double temperature;
  float factor;  // 1 / T, as good as float32 has it
  int64_t top_k;
  double top_p;
};

// Whether what TopK finds is enough, whatever is excluded of it.
inline bool TopKIsEnough(const SamplingOptions& options, const ExcludedTokens& excluded) {
  return options.top_k > 0 && options.top_k <= kMostOfTopK - excluded.most;
}

// The k best words of each row in scratch memory, excluded ones included.
template <typename Device>
TopWords BestWords(const Device& device, int64_t k, const SampledRows& in, int64_t* bad_row) {
  const TopWords best = {k, device.arena->template Allocate<float>(in.rows * k),
                         device.arena->template Allocate<int32_t>(in.rows * k),
                         device.arena->template Allocate<double>(in.rows), bad_row};
  TopK(device, {in.logits, in.vocab_size, in.rows, 0, in.vocab_size, in.vocab_size}, best);
  return best;
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_SAMPLING_DRAW_H_
