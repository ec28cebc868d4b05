#include "cc/kernels/dropout.h"
#include "cc/kernels/pre_norm_gradient.h"

namespace tf_ls {

template <typename T>
void PreNormGradient(const Cpu& cpu, const T* x, const float* gamma, const float* beta,
                     const Moments& moments, const Dropout& dropout, const T* dy, int64_t rows,
                     int64_t n, T* normalized, T* doutput, float* dbias, ColumnSums<Cpu>* sums) {
  LayerNormFromMoments(cpu, x, rows, n, gamma, beta, moments, normalized);
  DropoutBiasGradient(cpu, dropout, dy, rows, n, doutput, dbias, sums);
}

template void PreNormGradient(const Cpu&, const float*, const float*, const float*, const Moments&,
                              const Dropout&, const float*, int64_t, int64_t, float*, float*,
                              float*, ColumnSums<Cpu>*);
template void PreNormGradient(const Cpu&, const bfloat16*, const float*, const float*,
                              const Moments&, const Dropout&, const bfloat16*, int64_t, int64_t,
                              bfloat16*, bfloat16*, float*, ColumnSums<Cpu>*);

}  // namespace tf_ls
