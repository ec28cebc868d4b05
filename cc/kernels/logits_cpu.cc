#include "cc/kernels/cast.h"
#include "cc/kernels/logits.h"
#include "cc/kernels/matmul.h"
#include "cc/kernels/packed_weights.h"

namespace tf_ls {

namespace {

// Whether there are packed weights to do it with.
template <typename T>
bool MultiplyPacked(const Cpu& cpu, const T* x, const OutputLayer& layer, const LogitPiece& piece) {
  const Weight weight = {layer.weights, layer.hidden_size, layer.vocab_size, /*transposed=*/true};
  if (const Int8Weight* const packed = FindInt8(cpu, weight)) {
    packed->Multiply(cpu, x, piece.rows, piece.first, piece.count, layer.bias, /*accumulate=*/false,
                     piece.stride, piece.data);
    return true;
  }
  const PackedWeight* const packed = FindPacked(cpu, weight, onednn::kDataType<T>);
  if (packed == nullptr) return false;
  packed->Multiply(cpu, x, piece.rows, piece.first, piece.count, layer.bias, /*accumulate=*/false,
                   onednn::kDataType<float>, piece.stride, piece.data);
  return true;
}

}  // namespace

int64_t LogitStride(const Cpu& /*cpu*/, int64_t count) { return count; }

template <>
void Logits(const Cpu& cpu, const float* x, const OutputLayer& layer, const LogitPiece& piece) {
  if (MultiplyPacked(cpu, x, layer, piece)) return;
  const Weight weight = {layer.weights + piece.first * layer.hidden_size, layer.hidden_size,
                         piece.count, /*transposed=*/true};
  MatMul(cpu, x, piece.rows, weight, layer.bias == nullptr ? nullptr : layer.bias + piece.first,
         /*accumulate=*/false, piece.data);
}

// Without packed weights in float32 throughout: a product with a result of bfloat16 would round the
// logits.
template <>
void Logits(const Cpu& cpu, const bfloat16* x, const OutputLayer& layer, const LogitPiece& piece) {
  if (MultiplyPacked(cpu, x, layer, piece)) return;
  const ArenaScope scope(cpu.arena);
  const float* const wide = Widen(cpu, x, piece.rows * layer.hidden_size);
  Logits(cpu, wide, layer, piece);
}

}  // namespace tf_ls
