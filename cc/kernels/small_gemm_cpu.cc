#include <cstring>
#include <type_traits>

#include "cc/core/multiversion.h"
#include "cc/kernels/small_gemm.h"

namespace tf_ls {
namespace {

// As many accumulators as fit into sixteen 256-bit registers beside a row of B and a number of A.
constexpr int kTileRows = 6;

typedef float Lanes __attribute__((vector_size(kGemmLanes * sizeof(float))));

// One tile of C: `rows` rows of one vector each, held in registers over the whole of k.
template <int rows>
inline __attribute__((always_inline)) void Tile(int64_t k, const float* a, int64_t a_row_stride,
                                                int64_t a_column_stride, const float* b,
                                                int64_t b_row_stride, float* c,
                                                int64_t c_row_stride, bool accumulate) {
  Lanes sum[rows];
  for (int i = 0; i < rows; ++i) {
    sum[i] = Lanes{};
    if (accumulate) std::memcpy(&sum[i], c + i * c_row_stride, sizeof(Lanes));
  }
  for (int64_t p = 0; p < k; ++p) {
    Lanes line;
    std::memcpy(&line, b + p * b_row_stride, sizeof(Lanes));
    for (int i = 0; i < rows; ++i) sum[i] += a[i * a_row_stride + p * a_column_stride] * line;
  }
  for (int i = 0; i < rows; ++i) std::memcpy(c + i * c_row_stride, &sum[i], sizeof(Lanes));
}

}  // namespace

TF_LS_MULTIVERSION void SmallGemm(int64_t m, int64_t n, int64_t k, const float* a,
                                  int64_t a_row_stride, int64_t a_column_stride, const float* b,
                                  int64_t b_row_stride, float* c, int64_t c_row_stride,
                                  bool accumulate) {
  for (int64_t i = 0; i < m; i += kTileRows) {
    const float* const a_rows = a + i * a_row_stride;
    for (int64_t j = 0; j < n; j += kGemmLanes) {
      float* const c_tile = c + i * c_row_stride + j;
      const auto tile = [&](auto rows) __attribute__((always_inline)) {
        Tile<decltype(rows)::value>(k, a_rows, a_row_stride, a_column_stride, b + j, b_row_stride,
                                    c_tile, c_row_stride, accumulate);
      };
      switch (m - i) {
        case 1:
          tile(std::integral_constant<int, 1>());
          break;
        case 2:
          tile(std::integral_constant<int, 2>());
          break;
        case 3:
          tile(std::integral_constant<int, 3>());
          break;
        case 4:
          tile(std::integral_constant<int, 4>());
          break;
        case 5:
          tile(std::integral_constant<int, 5>());
          break;
        default:
          tile(std::integral_constant<int, kTileRows>());
      }
    }
  }
}

}  // namespace tf_ls
