#ifndef TF_LS_CC_KERNELS_SAMPLE_TOKENS_H_
#define TF_LS_CC_KERNELS_SAMPLE_TOKENS_H_

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/gumbel_noise.h"

namespace tf_ls {

// From which tokens and how evenly a sample is drawn, in the order in which they act; what is
// excluded is gone before. They mean what they mean in tf_ls/testing/reference_search.py.
struct SamplingOptions {
  double temperature = 1.0;  // T > 0: draws from softmax(logits / T)
  int64_t top_k = 0;         // from the k most probable, of equal ones the lower ids; 0: from all
  double top_p = 1.0;        // from the fewest whose probabilities add up to p; 1: from all
  uint64_t seed = 0;
};

inline void CheckSampling(const SamplingOptions& options) {
  const auto check = [](bool holds, const std::string& expected, double got) {
    if (!holds) throw std::invalid_argument(expected + ", got " + std::to_string(got));
  };
  check(options.temperature > 0.0 && std::isfinite(options.temperature),
        "temperature must be more than 0 and finite", options.temperature);
  check(options.top_k >= 0, "top_k must be at least 0", static_cast<double>(options.top_k));
  check(options.top_p > 0.0 && options.top_p <= 1.0, "top_p must be more than 0 and at most 1",
        options.top_p);
}

// Tokens that are never drawn: those of row i are tokens[begins[i]] to tokens[ends[i] - 1], ids of
// the vocabulary, in any order and as often as you like. In the memory of the device.
struct ExcludedTokens {
  const int32_t* begins = nullptr;  // [rows], null if no row excludes anything
  const int32_t* ends = nullptr;    // [rows]
  const int32_t* tokens = nullptr;
  int64_t most = 0;  // at least as many as any row lists
};

// The next token of hypotheses, one a row. In the memory of the device.
struct SampledRows {
  int64_t rows, vocab_size;
  float* logits;                  // [rows, vocab_size]; those of excluded tokens may be overwritten
  const SampleCounter* counters;  // [rows]
  ExcludedTokens excluded;
};

struct SampledTokens {
  int32_t* tokens;   // [rows]; -1 where no token may be drawn
  float* log_probs;  // [rows], log softmax(logits) there: neither options nor exclusion change it
  int64_t* bad_row;  // as TopK's; who calls sets it to -1
};

// Draws a token for each row: of those that may be drawn, the one with the largest logit / T +
// GumbelNoise, in double on every device. So CPU, GPU and the reference, given the same logits,
// draw the same token, except where two such sums agree within 1e-12 of their size, or where what
// is as probable as the tokens drawn from adds up to top_p within 1e-5: masses are summed up in
// float32. A row depends on nothing but its own logits, counter and excluded tokens; a run repeats
// to the bit.
//
// A row without a token to draw (all of those with a probability are excluded) gets -1 and minus
// infinity. A row without a distribution, see TopK, gets -1 and NaN, and *bad_row tells of it.
//
// Cost: with k + excluded.most <= kMostOfTopK, top_p or not, that of TopK. Else the row is read
// once for its log-sum and once for the draw, which takes a random number and an exponential for
// each logit that top_k and top_p leave; each of the two reads it some more times to find its
// limit, halving (the GPU: cutting in eight) an interval of logits until few are within: about
// log2(V / 512) + 4 times on the CPU, and a third of that on the GPU. Logits that are equal by
// thousands at the limit cost the GPU up to 30 times.
void SampleTokens(const Cpu& cpu, const SamplingOptions& options, const SampledRows& in,
                  const SampledTokens& out);
void SampleTokens(const Gpu& gpu, const SamplingOptions& options, const SampledRows& in,
                  const SampledTokens& out);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_SAMPLE_TOKENS_H_
