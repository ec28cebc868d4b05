#ifndef TF_LS_CC_KERNELS_VOCABULARY_SLICES_H_
#define TF_LS_CC_KERNELS_VOCABULARY_SLICES_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "cc/core/cpu.h"
#include "cc/kernels/onednn_matmul.h"

// Products of hidden states with the weights [V, H] of a vocabulary, in blocks of rows and slices
// of the vocabulary: the weights of a slice stay in a core's cache while blocks of rows go by.
namespace tf_ls {

constexpr int64_t kBlockRows = 64;
constexpr int64_t kSliceColumns = 2048;

struct VocabularySlice {
  int64_t start, columns;
  std::shared_ptr<const onednn::Product> product;  // of one block of rows
  unsigned char* packed;                           // the slice's weights as the product takes them
};

// logits[64, columns] = x[64, H] * weights^T + bias. row_stride: of the logits, 0 for `columns`.
std::vector<VocabularySlice> LogitSlices(const Cpu& cpu, int64_t hidden_size, int64_t vocab_size,
                                         const float* weights, bool bias, int64_t row_stride,
                                         dnnl::memory::data_type type,
                                         dnnl::memory::data_type logits_type);

// sum[64, H] += dlogits[64, columns] * weights, in float32; the first slice sets the sum.
std::vector<VocabularySlice> InputGradientSlices(const Cpu& cpu, int64_t hidden_size,
                                                 int64_t vocab_size, const float* weights,
                                                 int64_t row_stride, dnnl::memory::data_type type);

// x in whole blocks of rows: the last block may need rows that x does not have.
template <typename T>
const T* WholeBlocks(const Cpu& cpu, const T* x, int64_t rows, int64_t hidden_size) {
  if (rows % kBlockRows == 0) return x;
  const int64_t count = rows * hidden_size;
  const int64_t whole = (rows + kBlockRows - 1) / kBlockRows * kBlockRows * hidden_size;
  T* const copy = cpu.arena->Allocate<T>(whole);
  std::copy(x, x + count, copy);
  std::fill(copy + count, copy + whole, T{});
  return copy;
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_VOCABULARY_SLICES_H_
