#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"
#include "cc/kernels/attention.h"
#include "cc/kernels/plain_attention.h"
#include "cc/kernels/tensor_core_attention.h"

namespace tf_ls {
namespace {

// float32 is not rounded for tensor cores, whatever gpu.allow_tf32 says of matrix products.
template <typename T>
constexpr bool kFitsTensorCores = sizeof(T) == 2;

}  // namespace

template <typename T>
void Attention(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
               HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
               float* log_sums) {
  if constexpr (kFitsTensorCores<T>) {
    if (TensorCoreAttention(gpu, shape, dropout, q, k, v, out, log_sums)) return;
  }
  PlainAttention(gpu, shape, dropout, q, k, v, out, log_sums);
}

template <typename T>
void AttentionGradient(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                       HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, const T* out,
                       const float* log_sums, const T* dout, HeadRows<T> dq, HeadRows<T> dk,
                       HeadRows<T> dv) {
  if constexpr (kFitsTensorCores<T>) {
    if (TensorCoreAttentionGradient(gpu, shape, dropout, q, k, v, out, log_sums, dout, dq, dk,
                                    dv)) {
      return;
    }
  }
  PlainAttentionGradient(gpu, shape, dropout, q, k, v, out, log_sums, dout, dq, dk, dv);
}

template void Attention(const Gpu&, const AttentionShape&, const Dropout&, HeadRows<const float>,
                        HeadRows<const float>, HeadRows<const float>, float*, float*);
template void Attention(const Gpu&, const AttentionShape&, const Dropout&, HeadRows<const float16>,
                        HeadRows<const float16>, HeadRows<const float16>, float16*, float*);
template void Attention(const Gpu&, const AttentionShape&, const Dropout&, HeadRows<const bfloat16>,
                        HeadRows<const bfloat16>, HeadRows<const bfloat16>, bfloat16*, float*);
template void AttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                HeadRows<const float>, HeadRows<const float>, HeadRows<const float>,
                                const float*, const float*, const float*, HeadRows<float>,
                                HeadRows<float>, HeadRows<float>);
template void AttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                HeadRows<const float16>, HeadRows<const float16>,
                                HeadRows<const float16>, const float16*, const float*,
                                const float16*, HeadRows<float16>, HeadRows<float16>,
                                HeadRows<float16>);
template void AttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                                HeadRows<const bfloat16>, const bfloat16*, const float*,
                                const bfloat16*, HeadRows<bfloat16>, HeadRows<bfloat16>,
                                HeadRows<bfloat16>);

}  // namespace tf_ls
