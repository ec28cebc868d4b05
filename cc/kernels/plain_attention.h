#ifndef TF_LS_CC_KERNELS_PLAIN_ATTENTION_H_
#define TF_LS_CC_KERNELS_PLAIN_ATTENTION_H_

#include "cc/kernels/attention.h"

namespace tf_ls {

// Attention on the GPU in float32 arithmetic, for heads of any size up to 256. Queries share the
// keys and values that they read four at a time only, the rest is the caches' work.
template <typename T>
void PlainAttention(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                    HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
                    float* log_sums);

template <typename T>
void PlainAttentionGradient(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                            HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                            const T* out, const float* log_sums, const T* dout, HeadRows<T> dq,
                            HeadRows<T> dk, HeadRows<T> dv);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_PLAIN_ATTENTION_H_
