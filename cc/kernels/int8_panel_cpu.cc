#include <cstring>

#include "cc/core/multiversion.h"
#include "cc/kernels/int8_panel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tf_ls {
namespace {

constexpr int64_t kLineBytes = kInt8PanelColumns * kInt8Group;  // of a group of inputs
// What takes the offset away from a group, and gives its numbers their signs.
constexpr uint32_t kSigns = 0x80808080u;

uint32_t SignedGroup(const uint8_t* x) {
  uint32_t group;
  std::memcpy(&group, x, sizeof(group));
  return group ^ kSigns;
}

template <typename To, typename From>
TF_LS_INLINE To BitsAs(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// With vectors that all processors have. Products of two neighbours, at most 127 * 128 in magnitude
// each, fit into 16 bits with their sum.
void SumOnAny(const uint8_t* x, const Int8Panel& panel, int32_t* sums) {
  typedef int16_t Halves __attribute__((vector_size(16)));
  typedef int32_t Wholes __attribute__((vector_size(16)));
  constexpr int64_t kColumns = sizeof(Wholes) / sizeof(int32_t);
  for (int64_t j = 0; j < kInt8PanelColumns; j += kColumns) {
    Wholes sum = {};
    for (int64_t p = 0; p < panel.groups; ++p) {
      Halves weights;
      std::memcpy(&weights, panel.numbers + p * kLineBytes + j * kInt8Group, sizeof(weights));
      const Halves inputs =
          BitsAs<Halves>(Wholes{} + static_cast<int32_t>(SignedGroup(x + p * kInt8Group)));
      const Wholes pairs = BitsAs<Wholes>(((weights << 8) >> 8) * ((inputs << 8) >> 8) +
                                          (weights >> 8) * (inputs >> 8));
      sum += ((pairs << 16) >> 16) + (pairs >> 16);
    }
    std::memcpy(sums + j, &sum, sizeof(sum));
  }
}

#if defined(__x86_64__)
#define TF_LS_AVX2 __attribute__((target("avx2")))
#define TF_LS_VNNI __attribute__((target("avx512f,avx512vnni")))

// The instruction that multiplies bytes takes one of each two without a sign: the weight's
// magnitude, while its sign goes to the input. Sums of two fit into 16 bits, as above.
TF_LS_AVX2 void SumWithAvx2(const uint8_t* x, const Int8Panel& panel, int32_t* sums) {
  constexpr int kVectors = kLineBytes / sizeof(__m256i);
  __m256i sum[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) sum[v] = _mm256_setzero_si256();
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t p = 0; p < panel.groups; ++p) {
    const __m256i inputs = _mm256_set1_epi32(static_cast<int>(SignedGroup(x + p * kInt8Group)));
    const auto* const line = reinterpret_cast<const __m256i*>(panel.numbers + p * kLineBytes);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const __m256i weights = _mm256_loadu_si256(line + v);
      const __m256i pairs =
          _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(inputs, weights));
      sum[v] = _mm256_add_epi32(sum[v], _mm256_madd_epi16(pairs, ones));
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums) + v, sum[v]);
  }
}

constexpr int kVectors = kLineBytes / sizeof(__m512i);
constexpr int64_t kLanes = sizeof(__m512i) / sizeof(int32_t);

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

#undef TF_LS_AVX2
#undef TF_LS_VNNI
#endif

}  // namespace

Int8Instructions BestInt8Instructions() {
#if defined(__x86_64__)
  static const Int8Instructions best = [] {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"))
      return Int8Instructions::kAvx512Vnni;
    return __builtin_cpu_supports("avx2") ? Int8Instructions::kAvx2 : Int8Instructions::kAny;
  }();
  return best;
#else
  return Int8Instructions::kAny;
#endif
}

void Int8PanelProduct(const uint8_t* x, int64_t x_stride, int64_t rows, const Int8Panel& panel,
                      const int8_t* ahead, int32_t* sums, Int8Instructions with) {
#if defined(__x86_64__)
  if (with == Int8Instructions::kAvx512Vnni) {
    if (ahead == nullptr) return VnniSums<false>(x, x_stride, rows, panel, ahead, sums);
    return VnniSums<true>(x, x_stride, rows, panel, ahead, sums);
  }
  const auto sum = with == Int8Instructions::kAvx2 ? SumWithAvx2 : SumOnAny;
#else
  const auto sum = SumOnAny;
#endif
  for (int64_t i = 0; i < rows; ++i) sum(x + i * x_stride, panel, sums + i * kInt8PanelColumns);
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
