#ifndef TF_LS_CC_KERNELS_EMBEDDING_H_
#define TF_LS_CC_KERNELS_EMBEDDING_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/float16.h"
#include "cc/core/gpu.h"
#include "cc/core/philox.h"
#include "cc/core/weight_casts.h"
#include "cc/kernels/token_rows.h"

namespace tf_ls {

// The timing signal of Vaswani et al., "Attention is all you need", 2017, as Tensor2Tensor and
// NeurST lay it out: y[i] = sin(p * w_j) for j < n / 2, then cos(p * w_j), then a zero if n is odd;
// p = start + i, w_j = 10000^(-j / (n / 2 - 1)). y: [count, n]. (For n < 4, where that divides by
// zero, w_0 is 1.)
//
// Cost: a rotation in double precision for each pair of numbers; sines and cosines are computed
// once in 64 positions, so that a result neither drifts nor depends on the number of threads.
void SinusoidalPositions(const Cpu& cpu, int64_t start, int64_t count, int64_t n, float* y);
// A sine and a cosine in double precision for each pair of numbers.
void SinusoidalPositions(const Gpu& gpu, int64_t start, int64_t count, int64_t n, float* y);

// y[i] = dropout(table[id_i] * scale + positions[position_i]); zeros for rows without a token.
// y: [rows, n], table: [vocabulary, n], positions: [longest sentence, n] or null.
//
// Cost: reads a row of each table and writes one of y; with dropout ten rounds of Philox for four
// numbers.
template <typename Table, typename T>
void Embed(const Cpu& cpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Table* table, const float* positions, int64_t n, T* y);
template <typename Table, typename T>
void Embed(const Gpu& gpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Table* table, const float* positions, int64_t n, T* y);
// The same of a table in int8, with a scale for each id.
template <typename T>
void Embed(const Cpu& cpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Int8Numbers& table, const float* positions, int64_t n, T* y);
template <typename T>
void Embed(const Gpu& gpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Int8Numbers& table, const float* positions, int64_t n, T* y);

// The gradient of the rows that were looked up, for those with a token, one behind the other:
// dvalues[k] = mask * dy[i] * scale. dvalues: [rows with a token, n]. Cost: as Embed's.
template <typename T>
void EmbedRowGradient(const Cpu& cpu, const TokenRows& rows, const Dropout& dropout, float scale,
                      const T* dy, int64_t n, float* dvalues);
template <typename T>
void EmbedRowGradient(const Gpu& gpu, const TokenRows& rows, const Dropout& dropout, float scale,
                      const T* dy, int64_t n, float* dvalues);

// The gradient of a whole table: dtable[key] = sum of mask * dy[i] * scale over the rows i with a
// token and keys[i] == key; zeros where there are none. `keys` are rows.ids for the table of words,
// rows.positions for that of positions. dtable: [size, n].
//
// Sums are in the order of rows, in pieces of a fixed size: no atomics, and a result depends
// neither on the number of threads nor on the GPU. Cost: reads dy and writes dtable once.
template <typename T>
void EmbedTableGradient(const Cpu& cpu, const TokenRows& rows, const int32_t* keys,
                        const Dropout& dropout, float scale, const T* dy, int64_t n, int64_t size,
                        float* dtable);
template <typename T>
void EmbedTableGradient(const Gpu& gpu, const TokenRows& rows, const int32_t* keys,
                        const Dropout& dropout, float scale, const T* dy, int64_t n, int64_t size,
                        float* dtable);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_EMBEDDING_H_
