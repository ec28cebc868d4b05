#ifndef TF_LS_CC_TESTING_REFERENCE_LAYER_H_
#define TF_LS_CC_TESTING_REFERENCE_LAYER_H_

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "cc/kernels/attention.h"
#include "cc/layers/layer_options.h"
#include "cc/testing/dropout_mask.h"
#include "cc/testing/reference_activation.h"
#include "cc/testing/reference_attention.h"

namespace tf_ls {
namespace test {

using Numbers = std::vector<double>;

// The blocks of Transformer layers in double precision, forward only. Each takes rows of
// hidden_size numbers and its own weights, in the order of cc/layers/weights.h.
class ReferenceLayer {
 public:
  explicit ReferenceLayer(const LayerOptions& options) : options_(options) {}

  Numbers SelfAttention(const Numbers& x, const Sentences& sentences, const Numbers* w) const {
    return Residual(x, w, DropoutSite::kSelfAttentionOutput, [&](const Numbers& input) {
      const Numbers qkv = Dense(input, w[2], w[3]);
      return Dense(Attend({options_.num_heads, options_.head_size(), sentences, sentences,
                           options_.causal, kNoLag},
                          DropoutSite::kSelfAttentionWeights, Part(qkv, 0, 3), Part(qkv, 1, 3),
                          Part(qkv, 2, 3)),
                   w[4], w[5]);
    });
  }

  Numbers CrossAttention(const Numbers& x, const Sentences& sentences, const Numbers& memory,
                         const Sentences& memory_sentences, int64_t lag, const Numbers* w) const {
    return Residual(x, w, DropoutSite::kCrossAttentionOutput, [&](const Numbers& input) {
      const Numbers kv = Dense(memory, w[4], w[5]);
      return Dense(Attend({options_.num_heads, options_.head_size(), sentences, memory_sentences,
                           /*causal=*/false, lag},
                          DropoutSite::kCrossAttentionWeights, Dense(input, w[2], w[3]),
                          Part(kv, 0, 2), Part(kv, 1, 2)),
                   w[6], w[7]);
    });
  }

  Numbers Ffn(const Numbers& x, const Numbers* w) const {
    return Residual(x, w, DropoutSite::kFfnOutput, [&](const Numbers& input) {
      Numbers inner = Dense(input, w[2], w[3]);
      for (double& value : inner) value = ActivationValue(options_.activation, value);
      Drop(options_.activation_dropout, DropoutSite::kActivation, options_.filter_size, &inner);
      return Dense(inner, w[4], w[5]);
    });
  }

 private:
  using Function = std::function<Numbers(const Numbers&)>;

  Numbers Residual(const Numbers& x, const Numbers* norm, DropoutSite site,
                   const Function& function) const {
    Numbers y = function(options_.pre_norm ? LayerNorm(x, norm) : x);
    Drop(options_.residual_dropout, site, options_.hidden_size, &y);
    for (size_t i = 0; i < y.size(); ++i) y[i] += x[i];
    return options_.pre_norm ? y : LayerNorm(y, norm);
  }

  Numbers LayerNorm(const Numbers& x, const Numbers* norm) const {
    const int64_t n = options_.hidden_size;
    Numbers y(x.size());
    for (size_t start = 0; start < x.size(); start += n) {
      double mean = 0.0;
      double variance = 0.0;
      for (int64_t j = 0; j < n; ++j) mean += x[start + j] / n;
      for (int64_t j = 0; j < n; ++j) variance += (x[start + j] - mean) * (x[start + j] - mean) / n;
      for (int64_t j = 0; j < n; ++j) {
        const double normalized = (x[start + j] - mean) / std::sqrt(variance + options_.epsilon);
        y[start + j] = normalized * norm[0][j] + norm[1][j];
      }
    }
    return y;
  }

  static Numbers Dense(const Numbers& x, const Numbers& kernel, const Numbers& bias) {
    const int64_t outputs = bias.size();
    const int64_t inputs = kernel.size() / outputs;
    Numbers y;
    y.reserve(x.size() / inputs * outputs);
    for (size_t start = 0; start < x.size(); start += inputs) {
      for (int64_t j = 0; j < outputs; ++j) {
        double sum = bias[j];
        for (int64_t i = 0; i < inputs; ++i) sum += x[start + i] * kernel[i * outputs + j];
        y.push_back(sum);
      }
    }
    return y;
  }

  Numbers Attend(const AttentionShape& shape, DropoutSite site, const Numbers& q, const Numbers& k,
                 const Numbers& v) const {
    const Dropout dropout = options_.MakeDropout(options_.attention_dropout, site);
    return ReferenceAttention(shape, dropout, q, k, v, Numbers(q.size(), 0.0)).out;
  }

  // One of `count` tensors that lie side by side.
  Numbers Part(const Numbers& x, int64_t i, int64_t count) const {
    const int64_t n = options_.hidden_size;
    Numbers part;
    for (size_t start = i * n; start < x.size(); start += count * n) {
      part.insert(part.end(), x.begin() + start, x.begin() + start + n);
    }
    return part;
  }

  void Drop(float rate, DropoutSite site, int64_t n, Numbers* x) const {
    const Numbers factors = DropoutFactors(options_.MakeDropout(rate, site), x->size() / n, n);
    for (size_t i = 0; i < x->size(); ++i) (*x)[i] *= factors[i];
  }

  const LayerOptions options_;
};

// The gradient of `loss` at *x by central differences; changes *x only while it works.
inline Numbers NumericGradient(const std::function<double()>& loss, Numbers* x) {
  constexpr double kStep = 1e-5;
  Numbers gradient;
  for (double& value : *x) {
    const double before = value;
    value = before + kStep;
    const double above = loss();
    value = before - kStep;
    const double below = loss();
    value = before;
    gradient.push_back((above - below) / (2.0 * kStep));
  }
  return gradient;
}

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_REFERENCE_LAYER_H_
