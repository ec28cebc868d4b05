#include "cc/kernels/vocabulary_slices.h"

namespace tf_ls {
namespace {

using onednn::Product;
using DataType = dnnl::memory::data_type;

// Lays out the weights of all slices. Forward multiplies by weights^T, backward by the weights
// themselves.
template <typename MakeProduct>
std::vector<VocabularySlice> MakeSlices(const Cpu& cpu, int64_t hidden_size, int64_t vocab_size,
                                        const float* weights, bool transposed,
                                        const MakeProduct& make_product) {
  std::vector<VocabularySlice> slices((vocab_size + kSliceColumns - 1) / kSliceColumns);
  for (size_t i = 0; i < slices.size(); ++i) {
    VocabularySlice& slice = slices[i];
    slice.start = i * kSliceColumns;
    slice.columns = std::min(kSliceColumns, vocab_size - slice.start);
    slice.product = make_product(slice);
    slice.packed = cpu.arena->Allocate<unsigned char>(slice.product->packed_bytes());
  }
  const int64_t cost = kSliceColumns * hidden_size;
  cpu.threads->ParallelFor(slices.size(), cost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const start = weights + slices[i].start * hidden_size;
      slices[i].product->Pack(start, onednn::kDataType<float>, transposed ? 1 : hidden_size,
                              transposed ? hidden_size : 1, slices[i].packed);
    }
  });
  return slices;
}

}  // namespace

std::vector<VocabularySlice> LogitSlices(const Cpu& cpu, int64_t hidden_size, int64_t vocab_size,
                                         const float* weights, bool bias, int64_t row_stride,
                                         DataType type, DataType logits_type) {
  const auto make_product = [&](const VocabularySlice& slice) {
    return Product::Get({kBlockRows, hidden_size, slice.columns, hidden_size, 1, 0, 0,
                         row_stride == 0 ? slice.columns : row_stride, type, logits_type, bias,
                         false});
  };
  return MakeSlices(cpu, hidden_size, vocab_size, weights, /*transposed=*/true, make_product);
}

std::vector<VocabularySlice> InputGradientSlices(const Cpu& cpu, int64_t hidden_size,
                                                 int64_t vocab_size, const float* weights,
                                                 int64_t row_stride, DataType type) {
  const auto make_product = [&](const VocabularySlice& slice) {
    return Product::Get({kBlockRows, slice.columns, hidden_size,
                         row_stride == 0 ? slice.columns : row_stride, 1, 0, 0, hidden_size, type,
                         DataType::f32, false, /*accumulate=*/slice.start > 0});
  };
  return MakeSlices(cpu, hidden_size, vocab_size, weights, /*transposed=*/false, make_product);
}

}  // namespace tf_ls
