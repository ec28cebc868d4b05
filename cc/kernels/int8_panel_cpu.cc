#include <cstring>
#include <utility>

#include "cc/core/multiversion.h"
#include "cc/kernels/int8_panel.h"
#include "cc/kernels/lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tf_ls {
namespace {

constexpr int64_t kLineBytes = kInt8PanelColumns * kInt8Group;  // of a group of inputs
constexpr int kVectors = 4;                                     // of 64 bytes, in such a line

// Each number of sixteen pairs of neighbours.
typedef int16_t Halves __attribute__((vector_size(64)));
typedef int32_t Sums __attribute__((vector_size(64)));

template <typename To, typename From>
TF_LS_INLINE To BitsAs(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// Products of two neighbours, at most 127 * 128 in magnitude each, fit into 16 bits with their sum.
TF_LS_INLINE void PortableSum(const uint8_t* x, const int8_t* numbers, int64_t groups,
                              int32_t* sums) {
  for (int v = 0; v < kVectors; ++v) {
    Sums sum = {};
    for (int64_t p = 0; p < groups; ++p) {
      Halves weights;
      std::memcpy(&weights, numbers + p * kLineBytes + v * sizeof(weights), sizeof(weights));
      uint32_t group;
      std::memcpy(&group, x + p * kInt8Group, sizeof(group));
      const Halves inputs =
          BitsAs<Halves>(Sums{} + static_cast<int32_t>(group ^ 0x80808080u));  // with a sign
      const Sums pairs = BitsAs<Sums>(((weights << 8) >> 8) * ((inputs << 8) >> 8) +
                                      (weights >> 8) * (inputs >> 8));
      sum += ((pairs << 16) >> 16) + (pairs >> 16);
    }
    std::memcpy(sums + v * kLanes, &sum, sizeof(sum));
  }
}

#if defined(__x86_64__)
#define TF_LS_VNNI __attribute__((target("avx512f,avx512vnni")))

bool HasVnni() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
  return has;
}

// All sums stay in registers. The loops are unrolled by order, since the compiler keeps arrays in
// memory that are still arrays when it unrolls by itself.
template <int rows, bool look_ahead>
TF_LS_VNNI void VnniSum(const uint8_t* x, int64_t x_stride, const Int8Panel& panel,
                        const int8_t* ahead, int32_t* sums) {
  __m512i sum[rows][kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    // Since each number of x has so much too much.
    const __m512i start =
        _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(panel.offsets + v * kLanes));
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) sum[i][v] = start;
  }
  const int8_t* line = panel.numbers;
  for (int64_t p = 0; p < panel.groups; ++p) {
    __m512i weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = _mm512_loadu_si512(line + v * sizeof(__m512i));
      // Else it would be read again for each row.
      asm("" : "+v"(weights[v]));
    }
    if (look_ahead) {
      _mm_prefetch(ahead, _MM_HINT_T1);
      _mm_prefetch(ahead + kLineBytes / 4, _MM_HINT_T1);
      ahead += kLineBytes / 2;
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) {
      int32_t group;
      std::memcpy(&group, x + i * x_stride, sizeof(group));
      const __m512i inputs = _mm512_set1_epi32(group);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = _mm512_dpbusd_epi32(sum[i][v], inputs, weights[v]);
      }
    }
    line += kLineBytes;
    x += kInt8Group;
  }
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_si512(sums + i * kInt8PanelColumns + v * kLanes, sum[i][v]);
    }
  }
}

template <bool look_ahead>
void VnniSums(const uint8_t* x, int64_t x_stride, int64_t rows, const Int8Panel& panel,
              const int8_t* ahead, int32_t* sums) {
  switch (rows) {
    case 1:
      return VnniSum<1, look_ahead>(x, x_stride, panel, ahead, sums);
    case 2:
      return VnniSum<2, look_ahead>(x, x_stride, panel, ahead, sums);
    case 3:
      return VnniSum<3, look_ahead>(x, x_stride, panel, ahead, sums);
    case 4:
      return VnniSum<4, look_ahead>(x, x_stride, panel, ahead, sums);
    case 5:
      return VnniSum<5, look_ahead>(x, x_stride, panel, ahead, sums);
    default:
      return VnniSum<6, look_ahead>(x, x_stride, panel, ahead, sums);
  }
}

#undef TF_LS_VNNI
#endif

}  // namespace

void Int8PanelProduct(const uint8_t* x, int64_t x_stride, int64_t rows, const Int8Panel& panel,
                      const int8_t* ahead, int32_t* sums) {
#if defined(__x86_64__)
  if (HasVnni()) {
    if (ahead == nullptr) return VnniSums<false>(x, x_stride, rows, panel, ahead, sums);
    return VnniSums<true>(x, x_stride, rows, panel, ahead, sums);
  }
#endif
  PortableInt8PanelProduct(x, x_stride, rows, panel, sums);
}

TF_LS_MULTIVERSION void PortableInt8PanelProduct(const uint8_t* x, int64_t x_stride, int64_t rows,
                                                 const Int8Panel& panel, int32_t* sums) {
  for (int64_t i = 0; i < rows; ++i) {
    PortableSum(x + i * x_stride, panel.numbers, panel.groups, sums + i * kInt8PanelColumns);
  }
}

TF_LS_MULTIVERSION void ScaleInt8Sums(const int32_t* sums, int64_t rows, int64_t columns,
                                      const float* row_scales, const float* column_scales,
                                      const float* bias, bool accumulate, int64_t y_stride,
                                      float* y) {
  float shifts[kInt8PanelColumns] = {};
  if (bias != nullptr) std::memcpy(shifts, bias, columns * sizeof(float));
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t* const sum = sums + i * kInt8PanelColumns;
    float* const to = y + i * y_stride;
    const float row_scale = row_scales[i];
    if (accumulate) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) {
        to[j] += static_cast<float>(sum[j]) * row_scale * column_scales[j] + shifts[j];
      }
    } else {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) {
        to[j] = static_cast<float>(sum[j]) * row_scale * column_scales[j] + shifts[j];
      }
    }
  }
}

}  // namespace tf_ls
