#ifndef TF_LS_CC_KERNELS_ONEDNN_MATMUL_H_
#define TF_LS_CC_KERNELS_ONEDNN_MATMUL_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <tuple>
#include <type_traits>

#include "dnnl.hpp"

namespace tf_ls {
namespace onednn {

// The engine all primitives share.
const dnnl::engine& Engine();

// While one lives, oneDNN runs on the calling thread alone: the rows of a product are shared out
// over TensorFlow's threads, and a team of OpenMP's beside them would only compete.
class SingleThread {
 public:
  SingleThread();
  ~SingleThread();
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  const int threads_before_;
};

// oneDNN's name of T.
template <typename T>
constexpr dnnl::memory::data_type kDataType =
    std::is_same<T, float>::value ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;

// Cycles that a product takes on one core, for telling whether sharing the work is worth it.
inline int64_t ProductCycles(int64_t m, int64_t k, int64_t n) {
  constexpr int64_t kFlopsPerCycle = 32;
  return std::max<int64_t>(1, 2 * m * k * n / kFlopsPerCycle);
}

// C[m, n] = A[m, k] * B[k, n], as strided views of memory.
struct ProductShape {
  int64_t m, k, n;
  int64_t a_row_stride, a_column_stride;
  // Both 0: laid out as oneDNN likes it best, for this shape or, with any_rows, for few and many
  // rows alike.
  int64_t b_row_stride, b_column_stride;
  int64_t c_row_stride;
  dnnl::memory::data_type type;  // of A and B
  dnnl::memory::data_type c_type;
  bool bias;        // float32 [n]
  bool accumulate;  // C += A * B
  bool any_rows = false;

  auto AsTuple() const {
    return std::make_tuple(m, k, n, a_row_stride, a_column_stride, b_row_stride, b_column_stride,
                           c_row_stride, type, c_type, bias, accumulate, any_rows);
  }
};

// A compiled product; may be run by many threads at once.
class Product {
 public:
  explicit Product(const ProductShape& shape);

  // The compiled product of a shape, from a cache. Compiling takes up to some milliseconds.
  static std::shared_ptr<const Product> Get(const ProductShape& shape);

  // The layout of B that products of its size with any_rows share: what 64 rows like best, which
  // oneDNN was seen to choose for 1 to 128 rows alike.
  static dnnl::memory::desc AnyRowsLayout(const ProductShape& shape);

  // Of a weight as it is multiplied by.
  const dnnl::memory::desc& layout() const { return b_; }
  size_t packed_bytes() const { return b_.get_size(); }

  // Brings B, of float32 or of the product's type and with the given strides, into that layout and
  // type.
  void Pack(const void* b, dnnl::memory::data_type type, int64_t row_stride, int64_t column_stride,
            void* packed) const;

  void Run(const void* a, const void* b, const float* bias, void* c) const;

 private:
  dnnl::memory::dims dims_b_;
  dnnl::memory::desc a_, b_, c_, bias_, scratchpad_;
  dnnl::matmul primitive_;
};

// Whether this processor multiplies bfloat16.
bool HasBfloat16();

// Whether oneDNN lays out float32 weights for products here; see gemm_panels.h for where it does
// not.
bool LaysOutWeights();

}  // namespace onednn
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ONEDNN_MATMUL_H_
