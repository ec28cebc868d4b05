#include <algorithm>

#include "cc/kernels/layer_norm.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {

template <typename T>
void LayerNorm(const Cpu& cpu, const T* x, int64_t rows, int64_t n, const float* gamma,
               const float* beta, float epsilon, T* y, const Moments& moments) {
  ForEachRow(cpu, rows, n, 1, [&](int64_t i) {
    float* const buffer = ThreadBuffer<0>(n);
    const float* const in = ReadRow(x + i * n, n, buffer);
    float* const out = RowTarget(y + i * n, buffer);
    row::Moments(in, n, epsilon, &moments.mean[i], &moments.inverse_deviation[i]);
    row::Normalize(in, moments.mean[i], moments.inverse_deviation[i], gamma, beta, n, out);
    WriteRow(out, n, y + i * n);
  });
}

template <typename T>
void LayerNormFromMoments(const Cpu& cpu, const T* x, int64_t rows, int64_t n, const float* gamma,
                          const float* beta, const Moments& moments, T* y) {
  ForEachRow(cpu, rows, n, 1, [&](int64_t i) {
    float* const buffer = ThreadBuffer<0>(n);
    const float* const in = ReadRow(x + i * n, n, buffer);
    float* const out = RowTarget(y + i * n, buffer);
    row::Normalize(in, moments.mean[i], moments.inverse_deviation[i], gamma, beta, n, out);
    WriteRow(out, n, y + i * n);
  });
}

template <typename T>
void LayerNormGradient(const Cpu& cpu, const T* dy, const T* x, int64_t rows, int64_t n,
                       const float* gamma, const Moments& moments, const T* residual_gradient,
                       T* dx, float* dgamma, float* dbeta, ColumnSums<Cpu>* /*sums*/) {
  const ArenaScope scope(cpu.arena);
  constexpr int64_t kBlockRows = 64;
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  float* const partial = cpu.arena->Allocate<float>(blocks * 2 * n);
  cpu.threads->ParallelFor(blocks, 2 * kBlockRows * n, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      float* const block_gamma = partial + block * 2 * n;
      float* const block_beta = block_gamma + n;
      std::fill(block_gamma, block_gamma + 2 * n, 0.0f);
      for (int64_t i = block * kBlockRows; i < std::min(rows, (block + 1) * kBlockRows); ++i) {
        const float* const gradient = ReadRow(dy + i * n, n, ThreadBuffer<0>(n));
        const float* const in = ReadRow(x + i * n, n, ThreadBuffer<1>(n));
        float* const out = ThreadBuffer<2>(n);
        row::NormalizeGradient(gradient, in, moments.mean[i], moments.inverse_deviation[i], gamma,
                               n, out, block_gamma, block_beta);
        float* const target = RowTarget(dx + i * n, out);
        if (residual_gradient != nullptr) {
          row::Add(out, ReadRow(residual_gradient + i * n, n, ThreadBuffer<1>(n)), n, target);
        } else if (target != out) {
          std::copy(out, out + n, target);
        }
        WriteRow(target, n, dx + i * n);
      }
    }
  });
  std::fill(dgamma, dgamma + n, 0.0f);
  std::fill(dbeta, dbeta + n, 0.0f);
  for (int64_t block = 0; block < blocks; ++block) {
    row::Add(dgamma, partial + block * 2 * n, n, dgamma);
    row::Add(dbeta, partial + block * 2 * n + n, n, dbeta);
  }
}

template void LayerNorm(const Cpu&, const float*, int64_t, int64_t, const float*, const float*,
                        float, float*, const Moments&);
template void LayerNorm(const Cpu&, const bfloat16*, int64_t, int64_t, const float*, const float*,
                        float, bfloat16*, const Moments&);
template void LayerNormFromMoments(const Cpu&, const float*, int64_t, int64_t, const float*,
                                   const float*, const Moments&, float*);
template void LayerNormFromMoments(const Cpu&, const bfloat16*, int64_t, int64_t, const float*,
                                   const float*, const Moments&, bfloat16*);
template void LayerNormGradient(const Cpu&, const float*, const float*, int64_t, int64_t,
                                const float*, const Moments&, const float*, float*, float*, float*,
                                ColumnSums<Cpu>*);
template void LayerNormGradient(const Cpu&, const bfloat16*, const bfloat16*, int64_t, int64_t,
                                const float*, const Moments&, const bfloat16*, bfloat16*, float*,
                                float*, ColumnSums<Cpu>*);

}  // namespace tf_ls
