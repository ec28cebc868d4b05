#include <cstring>
#include <type_traits>

#include "cc/core/multiversion.h"
#include "cc/kernels/small_gemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tf_ls {
namespace {

// As many accumulators as fit into sixteen 256-bit registers beside a row of B and a number of A.
constexpr int kTileRows = 6;

typedef float Lanes __attribute__((vector_size(kGemmLanes * sizeof(float))));

struct Operands {
  int64_t k;
  const float* a;
  int64_t a_row_stride, a_column_stride;
  const float* b;
  int64_t b_row_stride;
  float* c;
  int64_t c_row_stride;
  bool accumulate;
};

// Calls tile(rows, operands) for tiles of up to kTileRows rows and kGemmLanes columns; `rows` is an
// integral constant.
template <typename Tile>
TF_LS_INLINE void ForEachTile(int64_t m, int64_t n, const Operands& all, const Tile& tile) {
  for (int64_t i = 0; i < m; i += kTileRows) {
    for (int64_t j = 0; j < n; j += kGemmLanes) {
      Operands of = all;
      of.a += i * all.a_row_stride;
      of.b += j;
      of.c += i * all.c_row_stride + j;
      switch (m - i) {
        case 1:
          tile(std::integral_constant<int, 1>(), of);
          break;
        case 2:
          tile(std::integral_constant<int, 2>(), of);
          break;
        case 3:
          tile(std::integral_constant<int, 3>(), of);
          break;
        case 4:
          tile(std::integral_constant<int, 4>(), of);
          break;
        case 5:
          tile(std::integral_constant<int, 5>(), of);
          break;
        default:
          tile(std::integral_constant<int, kTileRows>(), of);
      }
    }
  }
}

// One tile of C: `rows` rows of one vector each, held in registers over the whole of k.
template <int rows>
TF_LS_INLINE void Tile(const Operands& of) {
  Lanes sum[rows];
  for (int i = 0; i < rows; ++i) {
    sum[i] = Lanes{};
    if (of.accumulate) std::memcpy(&sum[i], of.c + i * of.c_row_stride, sizeof(Lanes));
  }
  for (int64_t p = 0; p < of.k; ++p) {
    Lanes line;
    std::memcpy(&line, of.b + p * of.b_row_stride, sizeof(Lanes));
    for (int i = 0; i < rows; ++i) {
      sum[i] += of.a[i * of.a_row_stride + p * of.a_column_stride] * line;
    }
  }
  for (int i = 0; i < rows; ++i) std::memcpy(of.c + i * of.c_row_stride, &sum[i], sizeof(Lanes));
}

TF_LS_MULTIVERSION void MultiplyOnAny(int64_t m, int64_t n, const Operands& all) {
  ForEachTile(
      m, n, all, [](auto rows, const Operands& of) __attribute__((always_inline)) {
        Tile<decltype(rows)::value>(of);
      });
}

#if defined(__x86_64__)
#define TF_LS_AVX2 __attribute__((target("avx2,fma")))

// As Tile: GCC keeps a vector that is wider than the processor's in memory.
template <int rows>
TF_LS_AVX2 void TileWithAvx2(const Operands& of) {
  constexpr int kVectors = 2;
  constexpr int64_t kNumbers = kGemmLanes / kVectors;
  __m256 sum[rows][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = of.accumulate ? _mm256_loadu_ps(of.c + i * of.c_row_stride + v * kNumbers)
                                : _mm256_setzero_ps();
    }
  }
  const float* a = of.a;
  const float* b = of.b;
  for (int64_t p = 0; p < of.k; ++p, a += of.a_column_stride, b += of.b_row_stride) {
    const __m256 first = _mm256_loadu_ps(b), second = _mm256_loadu_ps(b + kNumbers);
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) {
      const __m256 number = _mm256_broadcast_ss(a + i * of.a_row_stride);
      sum[i][0] = _mm256_fmadd_ps(number, first, sum[i][0]);
      sum[i][1] = _mm256_fmadd_ps(number, second, sum[i][1]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      _mm256_storeu_ps(of.c + i * of.c_row_stride + v * kNumbers, sum[i][v]);
    }
  }
}

void MultiplyWithAvx2(int64_t m, int64_t n, const Operands& all) {
  ForEachTile(m, n, all,
              [](auto rows, const Operands& of) { TileWithAvx2<decltype(rows)::value>(of); });
}

#undef TF_LS_AVX2

// Whether the widest vectors are those.
bool HasAvx2Alone() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         !__builtin_cpu_supports("avx512f");
}
#endif

}  // namespace

void SmallGemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row_stride,
               int64_t a_column_stride, const float* b, int64_t b_row_stride, float* c,
               int64_t c_row_stride, bool accumulate) {
  const Operands all = {
      k, a, a_row_stride, a_column_stride, b, b_row_stride, c, c_row_stride, accumulate};
#if defined(__x86_64__)
  static const bool with_avx2 = HasAvx2Alone();
  if (with_avx2) return MultiplyWithAvx2(m, n, all);
#endif
  MultiplyOnAny(m, n, all);
}

}  // namespace tf_ls
