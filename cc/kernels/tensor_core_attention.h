#ifndef TF_LS_CC_KERNELS_TENSOR_CORE_ATTENTION_H_
#define TF_LS_CC_KERNELS_TENSOR_CORE_ATTENTION_H_

#include "cc/core/float16.h"
#include "cc/kernels/attention.h"

namespace tf_ls {

// Attention on tensor cores: float16 and bfloat16, heads of a multiple of 8 numbers up to 128, rows
// that begin at multiples of 16 bytes, GPUs of compute capability 8.0 or later. Each returns false,
// having done nothing, if that is not given.
//
// Scores never leave the chip, as in FlashAttention-2 (Dao, 2023): keys and values stream through
// shared memory, the softmax is made up as they come. Weights are rounded to T before they meet the
// values, sums are float32.
template <typename T>
bool TensorCoreAttention(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                         HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
                         float* log_sums);

// A block has one head of one sentence and adds up in a fixed order: results are the same every
// time.
template <typename T>
bool TensorCoreAttentionGradient(const Gpu& gpu, const AttentionShape& shape,
                                 const Dropout& dropout, HeadRows<const T> q, HeadRows<const T> k,
                                 HeadRows<const T> v, const T* out, const float* log_sums,
                                 const T* dout, HeadRows<T> dq, HeadRows<T> dk, HeadRows<T> dv);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_TENSOR_CORE_ATTENTION_H_
