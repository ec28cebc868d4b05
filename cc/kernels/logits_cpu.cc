#include "cc/kernels/logits.h"

#include "cc/kernels/cast.h"
#include "cc/kernels/matmul.h"

namespace tf_ls {

int64_t LogitStride(const Cpu& /*cpu*/, int64_t count) { return count; }

template <>
void Logits(const Cpu& cpu, const float* x, const OutputLayer& layer, const LogitPiece& piece) {
  const Weight weight = {layer.weights + piece.first * layer.hidden_size, layer.hidden_size,
                         piece.count, /*transposed=*/true};
  MatMul(cpu, x, piece.rows, weight, layer.bias == nullptr ? nullptr : layer.bias + piece.first,
         /*accumulate=*/false, piece.data);
}

// In float32 throughout: a product with a result of bfloat16 would round the logits.
template <>
void Logits(const Cpu& cpu, const bfloat16* x, const OutputLayer& layer, const LogitPiece& piece) {
  const ArenaScope scope(cpu.arena);
  const float* const wide = Widen(cpu, x, piece.rows * layer.hidden_size);
  Logits(cpu, wide, layer, piece);
}

}  // namespace tf_ls
