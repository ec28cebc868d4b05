#ifndef TF_LS_CC_KERNELS_GUMBEL_NOISE_H_
#define TF_LS_CC_KERNELS_GUMBEL_NOISE_H_

#include <cmath>
#include <cstdint>

#include "cc/core/host_device.h"
#include "cc/core/philox.h"

// The noise that makes a sample of an argmax (gumbel_noise of tf_ls/testing/reference_search.py):
// of numbers x the token with the largest x + noise is a draw from softmax(x).
namespace tf_ls {

// Which draw it is. Token t has word t % 4 of the Philox counter (t / 4, position, sample,
// sentence).
struct SampleCounter {
  uint32_t position;  // of the token in its hypothesis, from 0
  uint32_t sample;    // its number among the sentence's
  uint32_t sentence;  // the row of the batch
};

// The random words of tokens 4 * quad to 4 * quad + 3.
TF_LS_HOST_DEVICE inline void RandomWords(const Philox::RoundKeys& keys,
                                          const SampleCounter& counter, uint32_t quad,
                                          uint32_t words[4]) {
  words[0] = quad;
  words[1] = counter.position;
  words[2] = counter.sample;
  words[3] = counter.sentence;
  Philox::Generate(keys, words);
}

// -log(-log(1 - u)), u = (word + 0.5) / 2^32, to the last places of a double.
TF_LS_HOST_DEVICE inline double GumbelOfWord(uint32_t word) {
  return -log(-log1p(-(word + 0.5) / 4294967296.0));
}
TF_LS_HOST_DEVICE inline double GumbelNoise(const Philox::RoundKeys& keys,
                                            const SampleCounter& counter, int32_t token) {
  uint32_t words[4];
  RandomWords(keys, counter, static_cast<uint32_t>(token) / 4, words);
  return GumbelOfWord(words[token % 4]);
}

// Two logarithms in double for each token would cost more than all the rest. But -log(1 - u) is at
// least u, so x + noise exceeds a bound only if u < exp(x - bound), which few words do once there
// is a bound: about log(n) among n in random order. This is a bound that is lower by more than
// float32 loses of x, bound and u.
TF_LS_HOST_DEVICE inline float BoundForFloats(double bound) {
  const auto rounded = static_cast<float>(bound);
  return rounded - (1e-6f * fabsf(rounded) + 1e-4f);
}
// u, rounded down.
TF_LS_HOST_DEVICE inline float LeastUniform(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f;
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GUMBEL_NOISE_H_
