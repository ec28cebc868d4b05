#ifndef TF_LS_CC_KERNELS_TOP_K_H_
#define TF_LS_CC_KERNELS_TOP_K_H_

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// Columns of rows of logits: all of them, or a piece, as a product with a part of the vocabulary
// makes them.
struct LogitColumns {
  const float* logits;  // row i begins at logits + i * stride
  int64_t stride;
  int64_t rows;
  int64_t first;  // the id of the first column
  int64_t count;
  int64_t vocab_size;

  bool AreFirst() const { return first == 0; }
  bool AreLast() const { return first + count == vocab_size; }
};

constexpr int64_t kMostOfTopK = 128;

// The best words of each row, in the memory of the device.
struct TopWords {
  int64_t k;         // from 1 to kMostOfTopK
  float* logits;     // [rows, k], the largest first; minus infinity behind the vocabulary's end
  int32_t* ids;      // [rows, k]; -1 behind the vocabulary's end
  double* log_sums;  // [rows], log(sum(exp(logits))) of all words
  int64_t* bad_row;  // who calls sets it to -1
};

// Finds the k largest logits of each row, of equal ones those of lower ids, and the sum that turns
// logits into log-probabilities: log softmax(logits)_j = logits_j - log_sum. For a step of beam
// search or of sampling. Pieces of a row come in the order of ids, and what `words` holds of the
// pieces before is read and improved; behind the last one it is complete.
//
// A row that has no distribution, because a logit is NaN or infinite, or all are minus infinity,
// chooses nothing: its ids are -1, its logits and log-sum NaN, and *bad_row, the lowest such row of
// all calls, tells of it. Nobody waits for a GPU to look at it: read it when the result is read.
//
// Cost: reads the logits once; an exponential and a comparison each. Behind the first thousands of
// a row few logits are larger than the k-th largest so far, about k * log(vocab_size / k) in random
// order. In ascending order all are: that is slow, not wrong.
void TopK(const Cpu& cpu, const LogitColumns& columns, const TopWords& words);
void TopK(const Gpu& gpu, const LogitColumns& columns, const TopWords& words);

inline void CheckTopK(int64_t k) {
  if (k < 1 || k > kMostOfTopK) {
    throw std::invalid_argument("k must be from 1 to " + std::to_string(kMostOfTopK) + ", got " +
                                std::to_string(k));
  }
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_TOP_K_H_
