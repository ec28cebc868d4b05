#ifndef TF_LS_CC_KERNELS_LOGITS_H_
#define TF_LS_CC_KERNELS_LOGITS_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/top_k.h"

namespace tf_ls {

// What makes logits of hidden states.
struct OutputLayer {
  const float* weights;  // [vocab_size, hidden_size]
  const float* bias;     // [vocab_size] or null
  int64_t hidden_size;
  int64_t vocab_size;
};

// Logits of some of the words, to be written.
struct LogitPiece {
  float* data;     // row i begins at data + i * stride
  int64_t stride;  // what LogitStride wants
  int64_t rows;
  int64_t first;  // the id of the first word
  int64_t count;
  int64_t vocab_size;

  LogitColumns ToRead() const { return {data, stride, rows, first, count, vocab_size}; }
};

// How far rows of so many logits are to lie apart.
int64_t LogitStride(const Cpu& cpu, int64_t count);
int64_t LogitStride(const Gpu& gpu, int64_t count);

// Writes a piece of the logits x * weights^T + bias of a few rows, in float32 whatever T is: who
// ranks words by them must not see two as equal because they were rounded. x: [rows, hidden_size].
//
// Cost: 2 * rows * hidden_size * piece.count flops; reads the weights of the piece once, if they
// are prepared weights; pieces of these begin at multiples of 256 words on the CPU.
template <typename T>
void Logits(const Cpu& cpu, const T* x, const OutputLayer& layer, const LogitPiece& piece);
template <typename T>
void Logits(const Gpu& gpu, const T* x, const OutputLayer& layer, const LogitPiece& piece);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_LOGITS_H_
