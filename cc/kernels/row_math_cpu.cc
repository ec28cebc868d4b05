#include <cmath>
#include <cstring>
#include <limits>

#include "cc/core/multiversion.h"
#include "cc/kernels/activation_functions.h"
#include "cc/kernels/lanes.h"
#include "cc/kernels/row_math.h"

namespace tf_ls {
namespace row {
namespace {

// exp(x) to 2 ulp: 2^n * polynomial(r), x = n * log(2) + r (the coefficients of Cephes' expf).
TF_LS_INLINE float Exp(float x) {
  // Written so that a NaN takes a bound, since it has no whole number; it comes back at the end.
  float bounded = x < 88.376259f ? x : 88.376259f;
  bounded = bounded > -87.336544f ? bounded : -87.336544f;
  // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number on any processor.
  const float n = (bounded * 1.44269504f + 12582912.0f) - 12582912.0f;
  const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return x == x ? p * power : x;
}

// tanh(x): a polynomial near zero, where 1 - 2 / (exp(2x) + 1) would cancel (the coefficients of
// Cephes' tanhf).
TF_LS_INLINE float Tanh(float x) {
  const float magnitude = std::fabs(x);
  const float square = x * x;
  float p = -5.70498872745e-3f;
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const float near = p * square * x + x;
  const float far = 1.0f - 2.0f / (Exp(2.0f * magnitude) + 1.0f);
  return magnitude < 0.625f ? near : std::copysign(far, x);
}

struct CpuMath {
  static TF_LS_INLINE float Exp(float x) { return row::Exp(x); }
  static TF_LS_INLINE float Tanh(float x) { return row::Tanh(x); }
  static TF_LS_INLINE float Sigmoid(float x) { return 0.5f + 0.5f * row::Tanh(0.5f * x); }
  static TF_LS_INLINE float Divide(float x, float y) { return x / y; }
};

template <typename Function>
TF_LS_INLINE void MapValue(const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = Function::Value(x[i]);
}

template <typename Function>
TF_LS_INLINE void MapSlope(const float* x, const float* dy, int64_t n, float* dx) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * Function::Slope(x[i]);
}

typedef float FourLanes __attribute__((vector_size(4 * sizeof(float))));

// The sums of each of four vectors' numbers, of all four at once.
TF_LS_INLINE FourLanes SumsOf(Lanes a, Lanes b, Lanes c, Lanes d) {
  // In each group of four numbers: a, b, a, b.
  const Lanes ab =
      __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
      __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const Lanes cd =
      __builtin_shufflevector(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
      __builtin_shufflevector(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  // a, b, c, d.
  const Lanes all =
      __builtin_shufflevector(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
      __builtin_shufflevector(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  return (__builtin_shufflevector(all, all, 0, 1, 2, 3) +
          __builtin_shufflevector(all, all, 4, 5, 6, 7)) +
         (__builtin_shufflevector(all, all, 8, 9, 10, 11) +
          __builtin_shufflevector(all, all, 12, 13, 14, 15));
}

// Four rows at a time, which share what is read of x and sums that do not wait for each other. At
// the end some of the four are the last row.
template <typename T>
TF_LS_INLINE void ProductsOf(const float* x, const T* const* rows, int64_t count, int64_t n,
                             float* products) {
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t i = 0; i < count; i += 4) {
    const T* const a = rows[i];
    const T* const b = rows[i + 1 < count ? i + 1 : count - 1];
    const T* const c = rows[i + 2 < count ? i + 2 : count - 1];
    const T* const d = rows[i + 3 < count ? i + 3 : count - 1];
    Lanes sum_a = {}, sum_b = {}, sum_c = {}, sum_d = {};
    for (int64_t j = 0; j < whole; j += kLanes) {
      const Lanes part = LoadLanes(x + j);
      sum_a += part * LoadLanes(a + j);
      sum_b += part * LoadLanes(b + j);
      sum_c += part * LoadLanes(c + j);
      sum_d += part * LoadLanes(d + j);
    }
    FourLanes sums = SumsOf(sum_a, sum_b, sum_c, sum_d);
    for (int64_t j = whole; j < n; ++j) {
      sums += x[j] * FourLanes{ToFloat(a[j]), ToFloat(b[j]), ToFloat(c[j]), ToFloat(d[j])};
    }
    if (i + 4 <= count) {
      std::memcpy(products + i, &sums, sizeof(sums));
    } else {
      for (int64_t k = i; k < count; ++k) products[k] = sums[k - i];
    }
  }
}

// Columns j to j + vectors * kLanes of a weighted sum, which stay in registers meanwhile.
template <int vectors, typename T>
TF_LS_INLINE void WeightedColumns(const float* weights, const T* const* rows, int64_t count,
                                  int64_t j, float* y) {
  Lanes sums[vectors] = {};
  for (int64_t i = 0; i < count; ++i) {
    for (int v = 0; v < vectors; ++v) sums[v] += weights[i] * LoadLanes(rows[i] + j + v * kLanes);
  }
  std::memcpy(y + j, sums, sizeof(sums));
}

template <typename T>
TF_LS_INLINE void WeightedSumOf(const float* weights, const T* const* rows, int64_t count,
                                int64_t n, float* y) {
  constexpr int kVectors = 4;
  int64_t j = 0;
  for (; j + kVectors * kLanes <= n; j += kVectors * kLanes) {
    WeightedColumns<kVectors>(weights, rows, count, j, y);
  }
  for (; j + kLanes <= n; j += kLanes) WeightedColumns<1>(weights, rows, count, j, y);
  for (; j < n; ++j) {
    float sum = 0.0f;
    for (int64_t i = 0; i < count; ++i) sum += weights[i] * ToFloat(rows[i][j]);
    y[j] = sum;
  }
}

// Philox' words of sixteen counters side by side: words[i][j] is word i of (first + j, c1, c2, c3).
constexpr int kCounters = 16;
TF_LS_INLINE void WordsOfCounters(const Philox::RoundKeys& keys, uint64_t first, uint32_t c1,
                                  uint32_t c2, uint32_t c3, uint64_t words[4][kCounters]) {
  // Each word is in the lower half of a 64-bit lane, where products fit.
  constexpr int kVectors = 2;
  typedef uint64_t Words __attribute__((vector_size(kCounters / kVectors * sizeof(uint64_t))));
  constexpr uint64_t kLow = 0xffffffffu;
  const Words lanes = {0, 1, 2, 3, 4, 5, 6, 7};
  Words c[4][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    c[0][v] = lanes + (first + v * kCounters / kVectors);
    c[1][v] = Words{} + c1;
    c[2][v] = Words{} + c2;
    c[3][v] = Words{} + c3;
  }
  for (int round = 0; round < Philox::kRounds; ++round) {
    for (int v = 0; v < kVectors; ++v) {
      const Words product0 = c[0][v] * Philox::kMultiplier0;
      const Words product1 = c[2][v] * Philox::kMultiplier1;
      c[0][v] = (product1 >> 32) ^ c[1][v] ^ static_cast<uint64_t>(keys.words[round][0]);
      c[1][v] = product1 & kLow;
      c[2][v] = (product0 >> 32) ^ c[3][v] ^ static_cast<uint64_t>(keys.words[round][1]);
      c[3][v] = product0 & kLow;
    }
  }
  std::memcpy(words, c, sizeof(c));
}

}  // namespace

TF_LS_MULTIVERSION void Products(const float* x, const float* const* rows, int64_t count, int64_t n,
                                 float* products) {
  ProductsOf(x, rows, count, n, products);
}

TF_LS_MULTIVERSION void Products(const float* x, const bfloat16* const* rows, int64_t count,
                                 int64_t n, float* products) {
  ProductsOf(x, rows, count, n, products);
}

TF_LS_MULTIVERSION void WeightedSum(const float* weights, const float* const* rows, int64_t count,
                                    int64_t n, float* y) {
  WeightedSumOf(weights, rows, count, n, y);
}

TF_LS_MULTIVERSION void WeightedSum(const float* weights, const bfloat16* const* rows,
                                    int64_t count, int64_t n, float* y) {
  WeightedSumOf(weights, rows, count, n, y);
}

TF_LS_MULTIVERSION void Load(const bfloat16* from, int64_t n, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = ToFloat(from[i]);
}

TF_LS_MULTIVERSION void Load(const float16* from, int64_t n, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = ToFloat(from[i]);
}

TF_LS_MULTIVERSION void Load(const int8_t* from, int64_t n, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
}

TF_LS_MULTIVERSION void Store(const float* from, int64_t n, bfloat16* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = ToBfloat16(from[i]);
}

TF_LS_MULTIVERSION void Add(const float* a, const float* b, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

TF_LS_MULTIVERSION void Multiply(const float* a, const float* b, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

TF_LS_MULTIVERSION void Scale(const float* a, float factor, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] * factor;
}

TF_LS_MULTIVERSION void ScaleAdd(const float* a, float factor, const float* b, int64_t n,
                                 float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] * factor + b[i];
}

TF_LS_MULTIVERSION void MultiplyAdd(const float* a, const float* b, const float* c, int64_t n,
                                    float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i] * c[i];
}

TF_LS_MULTIVERSION void Moments(const float* x, int64_t n, float epsilon, float* mean,
                                float* inverse_deviation) {
  const auto count = static_cast<float>(n);
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const float near = sum / count;
  float rest = 0.0f;
  float squares = 0.0f;
#pragma omp simd reduction(+ : rest, squares)
  for (int64_t i = 0; i < n; ++i) {
    const float distance = x[i] - near;
    rest += distance;
    squares += distance * distance;
  }
  rest /= count;
  *mean = near + rest;
  const float variance = squares / count - rest * rest;
  *inverse_deviation = 1.0f / std::sqrt((variance < 0.0f ? 0.0f : variance) + epsilon);
}

TF_LS_MULTIVERSION void Normalize(const float* x, float mean, float inverse_deviation,
                                  const float* gamma, const float* beta, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * inverse_deviation * gamma[i] + beta[i];
}

TF_LS_MULTIVERSION void NormalizeGradient(const float* dy, const float* x, float mean,
                                          float inverse_deviation, const float* gamma, int64_t n,
                                          float* dx, float* dgamma, float* dbeta) {
  float sum = 0.0f;
  float sum_normalized = 0.0f;
#pragma omp simd reduction(+ : sum, sum_normalized)
  for (int64_t i = 0; i < n; ++i) {
    const float normalized = (x[i] - mean) * inverse_deviation;
    const float gradient = dy[i] * gamma[i];
    sum += gradient;
    sum_normalized += gradient * normalized;
    dgamma[i] += dy[i] * normalized;
    dbeta[i] += dy[i];
  }
  const float mean_gradient = sum / static_cast<float>(n);
  const float mean_normalized = sum_normalized / static_cast<float>(n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float normalized = (x[i] - mean) * inverse_deviation;
    dx[i] = inverse_deviation * (dy[i] * gamma[i] - mean_gradient - normalized * mean_normalized);
  }
}

TF_LS_MULTIVERSION float Softmax(int64_t n, float* scores) {
  float top = scores[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) top = scores[i] > top ? scores[i] : top;
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    scores[i] = Exp(scores[i] - top);
    sum += scores[i];
  }
  const float inverse = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) scores[i] *= inverse;
  return top + std::log(sum);
}

TF_LS_MULTIVERSION void ExpMinus(float log_sum, int64_t n, float* scores) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) scores[i] = Exp(scores[i] - log_sum);
}

TF_LS_MULTIVERSION void SoftmaxGradient(const float* p, float scale, int64_t n, float* dp) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += p[i] * dp[i];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - sum) * scale;
}

TF_LS_MULTIVERSION void SumsBelowTop(const float* x, int64_t n, float* top, float* exp_sum,
                                     float* below_sum) {
  float largest = std::numeric_limits<float>::lowest();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  float exps = 0.0f;
  float distances = 0.0f;
#pragma omp simd reduction(+ : exps, distances)
  for (int64_t i = 0; i < n; ++i) {
    const float distance = x[i] - largest;
    exps += Exp(distance);
    distances += distance;
  }
  *top = largest;
  *exp_sum = exps;
  *below_sum = distances;
}

TF_LS_MULTIVERSION int64_t IndicesAbove(const float* x, int64_t n, float bound, int32_t* indices) {
  constexpr int64_t kAtOnce = 32;
  int64_t count = 0;
  for (int64_t start = 0; start < n; start += kAtOnce) {
    const int64_t end = start + kAtOnce < n ? start + kAtOnce : n;
    int32_t found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t i = start; i < end; ++i) found |= x[i] > bound ? 1 : 0;
    if (found == 0) continue;
    for (int64_t i = start; i < end; ++i) {
      indices[count] = static_cast<int32_t>(i);
      count += x[i] > bound ? 1 : 0;
    }
  }
  return count;
}

TF_LS_MULTIVERSION Amount AmountAbove(const float* x, const float* weights, int64_t n,
                                      float bound) {
  constexpr int64_t kAtOnce = 1024;
  Amount amount = {0, 0.0};
  for (int64_t start = 0; start < n; start += kAtOnce) {
    const int64_t end = start + kAtOnce < n ? start + kAtOnce : n;
    int32_t count = 0;
    float sum = 0.0f;
#pragma omp simd reduction(+ : count, sum)
    for (int64_t i = start; i < end; ++i) {
      const float weight = weights[i];  // read in any case, or there would be branches
      count += x[i] > bound ? 1 : 0;
      sum += x[i] > bound ? weight : 0.0f;
    }
    amount.count += count;
    amount.sum += sum;
  }
  return amount;
}

TF_LS_MULTIVERSION void ExpBelow(const float* x, float top, float factor, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = Exp((x[i] - top) * factor);
}

TF_LS_MULTIVERSION int64_t MayExceed(const Philox::RoundKeys& keys, const SampleCounter& counter,
                                     int64_t first, const float* x, int64_t n, float top,
                                     float factor, double bound, int32_t* indices) {
  constexpr int kAtOnce = 4 * kCounters;
  const float least = BoundForFloats(bound);
  int64_t count = 0;
  for (int64_t start = 0; start < n; start += kAtOnce) {
    uint64_t words[4][kCounters];
    WordsOfCounters(keys, (first + start) / 4, counter.position, counter.sample, counter.sentence,
                    words);
    float uniform[kAtOnce];
    for (int i = 0; i < kCounters; ++i) {
      for (int word = 0; word < 4; ++word) {
        uniform[4 * i + word] = LeastUniform(static_cast<uint32_t>(words[word][i]));
      }
    }
    const int here = static_cast<int>(n - start < kAtOnce ? n - start : kAtOnce);
    int32_t may[kAtOnce];
    int32_t found = 0;
#pragma omp simd reduction(| : found)
    for (int i = 0; i < here; ++i) {
      may[i] = uniform[i] <= Exp((x[start + i] - top) * factor - least) ? 1 : 0;
      found |= may[i];
    }
    if (found == 0) continue;
    for (int i = 0; i < here; ++i) {
      indices[count] = static_cast<int32_t>(start + i);
      count += may[i];
    }
  }
  return count;
}

TF_LS_MULTIVERSION void ScaledExpMinus(const float* x, float top, float scale, float offset,
                                       int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = scale * Exp(x[i] - top) - offset;
}

TF_LS_MULTIVERSION void Activate(Activation kind, const float* x, int64_t n, float* y) {
  switch (kind) {
    case Activation::kRelu:
      return MapValue<ReluFunction>(x, n, y);
    case Activation::kTanh:
      return MapValue<TanhFunction<CpuMath>>(x, n, y);
    case Activation::kGelu:
      return MapValue<GeluFunction<CpuMath>>(x, n, y);
    case Activation::kGeluErf:
      return MapValue<GeluErfFunction<CpuMath>>(x, n, y);
    case Activation::kSilu:
      return MapValue<SiluFunction<CpuMath>>(x, n, y);
  }
}

TF_LS_MULTIVERSION void ActivateGradient(Activation kind, const float* x, const float* dy,
                                         int64_t n, float* dx) {
  switch (kind) {
    case Activation::kRelu:
      return MapSlope<ReluFunction>(x, dy, n, dx);
    case Activation::kTanh:
      return MapSlope<TanhFunction<CpuMath>>(x, dy, n, dx);
    case Activation::kGelu:
      return MapSlope<GeluFunction<CpuMath>>(x, dy, n, dx);
    case Activation::kGeluErf:
      return MapSlope<GeluErfFunction<CpuMath>>(x, dy, n, dx);
    case Activation::kSilu:
      return MapSlope<SiluFunction<CpuMath>>(x, dy, n, dx);
  }
}

TF_LS_MULTIVERSION void ScaleAndClip(const float* x, float factor, float bound, int64_t n,
                                     float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = Clamp(x[i] * factor, bound);
}

TF_LS_MULTIVERSION double SumOfSquares(const float* x, int64_t n) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    const double value = x[i];
    sum += value * value;
  }
  return sum;
}

TF_LS_MULTIVERSION void Adam(const AdamCoefficients& coefficients, const float* gradient, int64_t n,
                             float* m, float* v, float* variable) {
  const AdamCoefficients c = coefficients;  // a copy, which the stores below cannot change
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * c.gradient_factor;
    const float mean = m[i] + (g - m[i]) * c.one_minus_beta1;
    const float square = v[i] + (g * g - v[i]) * c.one_minus_beta2;
    const float decayed = variable[i] - variable[i] * c.decay;
    m[i] = mean;
    v[i] = square;
    variable[i] = decayed - mean * c.rate / (std::sqrt(square) + c.epsilon);
  }
}

TF_LS_MULTIVERSION void DropoutMask(const Dropout& dropout, uint32_t row, uint32_t lane, int64_t n,
                                    float* mask) {
  const Philox::RoundKeys keys(dropout.seed);
  const uint32_t threshold = dropout.threshold();
  const float scale = dropout.scale();
  for (int64_t start = 0; start < n; start += 4 * kCounters) {
    uint64_t words[4][kCounters];
    WordsOfCounters(keys, start / 4, row, lane, static_cast<uint32_t>(dropout.site), words);
    float values[4 * kCounters];
    for (int i = 0; i < kCounters; ++i) {
      for (int word = 0; word < 4; ++word)
        values[4 * i + word] = words[word][i] < threshold ? 0.0f : scale;
    }
    std::memcpy(mask + start, values,
                (n - start < 4 * kCounters ? n - start : 4 * kCounters) * sizeof(float));
  }
}

}  // namespace row
}  // namespace tf_ls
