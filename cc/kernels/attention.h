#ifndef TF_LS_CC_KERNELS_ATTENTION_H_
#define TF_LS_CC_KERNELS_ATTENTION_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/core/philox.h"

namespace tf_ls {

// The sentences of a tensor of rows: sentence i has the rows offsets[i] to offsets[i + 1], of which
// the first lengths[i] may be attended to. Rows behind the last sentence belong to none.
struct Sentences {
  const int32_t* offsets;
  const int32_t* lengths;
  int64_t count;
  int64_t rows;

  int64_t Rows(int64_t i) const { return offsets[i + 1] - offsets[i]; }
};

// A lag behind any sentence's end.
constexpr int64_t kNoLag = INT32_MAX;

struct AttentionShape {
  int64_t heads;
  int64_t head_size;
  Sentences queries;
  Sentences keys;
  // The last query sees all keys, each query before it one key less.
  bool causal;
  // Query i sees no more than lag + i keys (wait-k decoding).
  int64_t lag;

  int64_t hidden_size() const { return heads * head_size; }
};

// Rows of `heads` vectors of head_size numbers each, `stride` numbers apart.
template <typename T>
struct HeadRows {
  T* data;
  int64_t stride;
};

// out = dropout(softmax(q * k^T / sqrt(head_size))) * v for every head of every sentence; out has
// rows of hidden_size. log_sums[heads, query rows] keeps log(sum(exp(scores))), from which backward
// makes the weights again instead of reading them from memory. A query that sees no key gets zeros.
//
// Cost: 4 * pairs * hidden_size flops, where pairs = sum over sentences of queries * keys; reads q,
// k, v, writes out.
template <typename T>
void Attention(const Cpu& cpu, const AttentionShape& shape, const Dropout& dropout,
               HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
               float* log_sums);
// On the GPU the shape's offsets and lengths are in its memory too.
template <typename T>
void Attention(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
               HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
               float* log_sums);

// Writes dq, dk, dv (all of their rows), given `out` and `log_sums` of the call above. (GPUs read
// `out`: its product with dout is what a softmax' gradient sums over all keys. CPUs have all keys
// at hand.) Cost: 10 * pairs * hidden_size flops.
template <typename T>
void AttentionGradient(const Cpu& cpu, const AttentionShape& shape, const Dropout& dropout,
                       HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, const T* out,
                       const float* log_sums, const T* dout, HeadRows<T> dq, HeadRows<T> dk,
                       HeadRows<T> dv);
template <typename T>
void AttentionGradient(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                       HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, const T* out,
                       const float* log_sums, const T* dout, HeadRows<T> dq, HeadRows<T> dk,
                       HeadRows<T> dv);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ATTENTION_H_
