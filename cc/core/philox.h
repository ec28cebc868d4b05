#ifndef TF_LS_CC_CORE_PHILOX_H_
#define TF_LS_CC_CORE_PHILOX_H_

#include <cstdint>

#include "cc/core/host_device.h"

namespace tf_ls {

// Philox 4x32-10, a counter-based random number generator: Salmon et al., "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011. The same (seed, site, row, column) gives the same number on every
// device and in every order of evaluation, so that dropout masks need not be stored between forward
// and backward.
struct Philox {
  static constexpr uint32_t kMultiplier0 = 0xD2511F53u;
  static constexpr uint32_t kMultiplier1 = 0xCD9E8D57u;
  static constexpr uint32_t kWeyl0 = 0x9E3779B9u;
  static constexpr uint32_t kWeyl1 = 0xBB67AE85u;
  static constexpr int kRounds = 10;

  // What the rounds mix in. GPU kernels get it made already, as an argument.
  struct RoundKeys {
    uint32_t words[kRounds][2];

    TF_LS_HOST_DEVICE explicit RoundKeys(uint64_t key) {
      for (int round = 0; round < kRounds; ++round) {
        words[round][0] = static_cast<uint32_t>(key) + round * kWeyl0;
        words[round][1] = static_cast<uint32_t>(key >> 32) + round * kWeyl1;
      }
    }
  };

  // Replaces a counter by its four random words.
  TF_LS_HOST_DEVICE static void Generate(const RoundKeys& keys, uint32_t counter[4]) {
    for (int round = 0; round < kRounds; ++round) {
      const uint64_t product0 = static_cast<uint64_t>(kMultiplier0) * counter[0];
      const uint64_t product1 = static_cast<uint64_t>(kMultiplier1) * counter[2];
      counter[0] = static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ keys.words[round][0];
      counter[1] = static_cast<uint32_t>(product1);
      counter[2] = static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ keys.words[round][1];
      counter[3] = static_cast<uint32_t>(product0);
    }
  }
  TF_LS_HOST_DEVICE static void Generate(uint64_t key, uint32_t counter[4]) {
    Generate(RoundKeys(key), counter);
  }
};

// Where in a layer a mask is used; part of the counter, so that no two masks of a layer are alike.
enum class DropoutSite : uint32_t {
  kStandalone = 0,
  kSelfAttentionWeights = 1,
  kSelfAttentionOutput = 2,
  kCrossAttentionWeights = 3,
  kCrossAttentionOutput = 4,
  kActivation = 5,
  kFfnOutput = 6,
  kEmbedding = 7,
};

// One mask: the random number of element (row, column) is word column % 4 of counter (column / 4,
// row, lane, site) under the key `seed`; the element is kept where the number is not below rate *
// 2^32.
struct Dropout {
  float rate = 0.0f;
  uint64_t seed = 0;
  DropoutSite site = DropoutSite::kStandalone;

  TF_LS_HOST_DEVICE bool active() const { return rate > 0.0f; }
  TF_LS_HOST_DEVICE float scale() const { return rate < 1.0f ? 1.0f / (1.0f - rate) : 0.0f; }
  TF_LS_HOST_DEVICE uint32_t threshold() const {
    return rate < 1.0f ? static_cast<uint32_t>(static_cast<double>(rate) * 4294967296.0)
                       : 0xffffffffu;
  }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_PHILOX_H_
