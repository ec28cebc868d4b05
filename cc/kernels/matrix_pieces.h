#ifndef TF_LS_CC_KERNELS_MATRIX_PIECES_H_
#define TF_LS_CC_KERNELS_MATRIX_PIECES_H_

#include <cstddef>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/weight_casts.h"
#include "cc/kernels/matmul.h"

namespace tf_ls {

// Lays matrices out behind `memory`, which may be null to measure: calls function(i, weight, form)
// for each piece i that is a matrix, with form = make(weight, its place), and returns the bytes of
// all. make(weight, null).bytes() says how many one needs. A piece of one row is a vector.
template <typename Make, typename Function>
size_t ForEachMatrix(const std::vector<WeightPiece>& pieces, void* memory, const Make& make,
                     const Function& function) {
  BufferCutter cutter(memory);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const WeightPiece& piece = pieces[i];
    if (!piece.IsMatrix()) continue;
    const Weight stored = {piece.name(), piece.rows, piece.columns};
    const Weight weight = piece.transposed ? stored.Transposed() : stored;
    const size_t bytes = make(weight, nullptr).bytes();
    function(i, weight, make(weight, cutter.Cut<unsigned char>(bytes)));
  }
  return cutter.used();
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_MATRIX_PIECES_H_
