#include <type_traits>

#include "cc/core/float16.h"
#include "cc/kernels/cast_weights.h"
#include "cc/kernels/cublaslt_product.h"
#include "cc/kernels/logits.h"

namespace tf_ls {

// Rows begin at multiples of 256 bytes, or products would be slower.
int64_t LogitStride(const Gpu& /*gpu*/, int64_t count) { return (count + 63) / 64 * 64; }

template <typename T>
void Logits(const Gpu& gpu, const T* x, const OutputLayer& layer, const LogitPiece& piece) {
  if (piece.rows == 0) return;
  const ArenaScope scope(gpu.arena);
  const T* const weights = CastWeight<T>(gpu, layer.weights, layer.vocab_size * layer.hidden_size);
  cublaslt::Product product;
  product.type = cublaslt::kDataType<T>;
  product.result_type = cublaslt::kFloat32;
  product.m = piece.count;
  product.n = piece.rows;
  product.k = layer.hidden_size;
  product.a_transposed = true;
  product.has_bias = layer.bias != nullptr;
  product.tf32 = gpu.allow_tf32 && std::is_same<T, float>::value;
  product.d_stride = piece.stride;
  cublaslt::Run(gpu, product, weights + piece.first * layer.hidden_size, x,
                layer.bias == nullptr ? nullptr : layer.bias + piece.first, piece.data);
}

template void Logits(const Gpu&, const float*, const OutputLayer&, const LogitPiece&);
template void Logits(const Gpu&, const float16*, const OutputLayer&, const LogitPiece&);
template void Logits(const Gpu&, const bfloat16*, const OutputLayer&, const LogitPiece&);

}  // namespace tf_ls
