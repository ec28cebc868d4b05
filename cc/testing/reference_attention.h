#ifndef TF_LS_CC_TESTING_REFERENCE_ATTENTION_H_
#define TF_LS_CC_TESTING_REFERENCE_ATTENTION_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "cc/kernels/attention.h"
#include "cc/testing/dropout_mask.h"

namespace tf_ls {
namespace test {

// Queries, keys and values in double precision, each [rows, hidden_size], and what attention makes
// of them by its definition, one number after the other.
struct ReferenceAttention {
  ReferenceAttention(const AttentionShape& shape, const Dropout& dropout,
                     const std::vector<double>& q, const std::vector<double>& k,
                     const std::vector<double>& v, const std::vector<double>& dout)
      : out(q.size(), 0.0), dq(q.size(), 0.0), dk(k.size(), 0.0), dv(v.size(), 0.0) {
    const int64_t n = shape.hidden_size();
    const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
    for (int64_t sentence = 0; sentence < shape.queries.count; ++sentence) {
      const int64_t queries = shape.queries.Rows(sentence);
      for (int64_t head = 0; head < shape.heads; ++head) {
        for (int64_t i = 0; i < queries; ++i) {
          const int64_t query = shape.queries.offsets[sentence] + i;
          std::vector<int64_t> seen;  // keys, by their place in the sentence
          for (int64_t j = 0; j < shape.keys.lengths[sentence]; ++j) {
            if (Sees(shape, sentence, i, j)) seen.push_back(j);
          }
          if (seen.empty()) continue;
          const auto key_at = [&](int64_t j) {
            return (shape.keys.offsets[sentence] + j) * n + head * shape.head_size;
          };
          const int64_t query_at = query * n + head * shape.head_size;
          std::vector<double> weights, masks, dweights;
          double sum = 0.0;
          for (const int64_t j : seen) {
            double score = 0.0;
            double dweight = 0.0;
            for (int64_t d = 0; d < shape.head_size; ++d) {
              score += scale * q[query_at + d] * k[key_at(j) + d];
              dweight += dout[query_at + d] * v[key_at(j) + d];
            }
            masks.push_back(DropoutFactor(dropout, query, head, j));
            weights.push_back(std::exp(score));
            dweights.push_back(dweight * masks.back());
            sum += weights.back();
          }
          double mean = 0.0;
          for (size_t s = 0; s < seen.size(); ++s) {
            weights[s] /= sum;
            mean += weights[s] * dweights[s];
          }
          for (size_t s = 0; s < seen.size(); ++s) {
            const int64_t at = key_at(seen[s]);
            const double dscore = weights[s] * (dweights[s] - mean) * scale;
            for (int64_t d = 0; d < shape.head_size; ++d) {
              out[query_at + d] += weights[s] * masks[s] * v[at + d];
              dv[at + d] += weights[s] * masks[s] * dout[query_at + d];
              dq[query_at + d] += dscore * k[at + d];
              dk[at + d] += dscore * q[query_at + d];
            }
          }
        }
      }
    }
  }

  static bool Sees(const AttentionShape& shape, int64_t sentence, int64_t query, int64_t key) {
    const int64_t behind = shape.queries.Rows(sentence) - 1 - query;
    if (shape.causal && key > shape.keys.Rows(sentence) - 1 - behind) return false;
    return key < shape.lag + query;
  }

  std::vector<double> out, dq, dk, dv;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_REFERENCE_ATTENTION_H_
