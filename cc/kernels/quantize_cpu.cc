#include <algorithm>
#include <cstring>
#include <limits>

#include "cc/core/multiversion.h"
#include "cc/kernels/lanes.h"
#include "cc/kernels/quantize.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

// Magnitudes are compared as bits: larger numbers have larger ones, then infinity, then NaNs.
constexpr uint32_t kMagnitude = 0x7fffffffu;
constexpr uint32_t kInfinity = 0x7f800000u;
// Adding 1.5 * 2^23 rounds to the nearest whole number, whose last byte is then the sum's.
constexpr float kRounder = 12582912.0f;
// Columns of a weight that go together: what is known of them stays in the first-level cache.
constexpr int64_t kColumns = 256;

template <typename To, typename From>
TF_LS_INLINE To BitsAs(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// The scale of numbers of which `bits` is the largest magnitude.
TF_LS_INLINE float ScaleOf(uint32_t bits) {
  if (bits >= kInfinity) return std::numeric_limits<float>::quiet_NaN();
  const float scale = BitsAs<float>(bits) / 127.0f;
  const float least = std::numeric_limits<float>::min();
  return scale > least ? scale : least;
}

// What to multiply by; 0 if the scale is NaN.
TF_LS_INLINE float InverseOf(float scale) { return scale == scale ? 1.0f / scale : 0.0f; }

template <typename T>
TF_LS_INLINE uint32_t LargestMagnitude(const T* x, int64_t n) {
  LaneBits largest = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const LaneBits bits = BitsAs<LaneBits>(LoadLanes(x + i)) & kMagnitude;
    largest = bits > largest ? bits : largest;
  }
  uint32_t result = 0;
  for (int64_t j = 0; j < kLanes; ++j) result = std::max<uint32_t>(result, largest[j]);
  for (; i < n; ++i) result = std::max(result, BitsAs<uint32_t>(ToFloat(x[i])) & kMagnitude);
  return result;
}

// Writes q + offset; returns the scale.
template <typename T>
TF_LS_INLINE float QuantizeRowOf(const T* x, int64_t n, int offset, uint8_t* to) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  const float scale = ScaleOf(LargestMagnitude(x, n));
  if (!(scale == scale)) {
    std::memset(to, offset, n);
    return scale;
  }
  const float inverse = InverseOf(scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const LaneBits rounded = BitsAs<LaneBits>(LoadLanes(x + i) * inverse + kRounder);
    const Bytes bytes = __builtin_convertvector(rounded + static_cast<uint32_t>(offset), Bytes);
    std::memcpy(to + i, &bytes, sizeof(bytes));
  }
  for (; i < n; ++i) {
    to[i] = static_cast<uint8_t>(BitsAs<uint32_t>(ToFloat(x[i]) * inverse + kRounder) + offset);
  }
  return scale;
}

TF_LS_MULTIVERSION float QuantizeRow(const float* x, int64_t n, int offset, uint8_t* to) {
  return QuantizeRowOf(x, n, offset, to);
}
TF_LS_MULTIVERSION float QuantizeRow(const bfloat16* x, int64_t n, int offset, uint8_t* to) {
  return QuantizeRowOf(x, n, offset, to);
}

// Up to kColumns columns of a matrix [rows, stride], each with a scale.
TF_LS_MULTIVERSION void QuantizeColumns(const float* x, int64_t rows, int64_t stride,
                                        int64_t columns, int8_t* to, float* scales) {
  uint32_t largest[kColumns] = {};
  float inverses[kColumns];
  for (int64_t i = 0; i < rows; ++i) {
    const float* const row = x + i * stride;
    for (int64_t j = 0; j < columns; ++j) {
      const uint32_t bits = BitsAs<uint32_t>(row[j]) & kMagnitude;
      largest[j] = bits > largest[j] ? bits : largest[j];
    }
  }
  for (int64_t j = 0; j < columns; ++j) {
    scales[j] = ScaleOf(largest[j]);
    inverses[j] = InverseOf(scales[j]);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const float* const row = x + i * stride;
    for (int64_t j = 0; j < columns; ++j) {
      const float scaled = row[j] * inverses[j];
      const float q = scaled == scaled ? scaled : 0.0f;
      to[i * stride + j] = static_cast<int8_t>(BitsAs<uint32_t>(q + kRounder));
    }
  }
}

}  // namespace

template <typename T>
QuantizedRows QuantizeRows(const Cpu& cpu, const T* x, int64_t rows, int64_t n) {
  const int64_t stride = (n + kInt8Group - 1) / kInt8Group * kInt8Group;
  uint8_t* const numbers = cpu.arena->Allocate<uint8_t>(rows * stride);
  float* const scales = cpu.arena->Allocate<float>(rows);
  ForEachRow(cpu, rows, n, 1, [&](int64_t i) {
    uint8_t* const to = numbers + i * stride;
    scales[i] = QuantizeRow(x + i * n, n, kInt8Offset, to);
    std::memset(to + n, kInt8Offset, stride - n);
  });
  return {numbers, stride, scales};
}
template QuantizedRows QuantizeRows(const Cpu&, const float*, int64_t, int64_t);
template QuantizedRows QuantizeRows(const Cpu&, const bfloat16*, int64_t, int64_t);

void QuantizeWeight(const Cpu& cpu, const Weight& weight, int8_t* numbers, float* scales) {
  const int64_t inputs = weight.inputs, outputs = weight.outputs;
  if (weight.transposed) {
    return ForEachRow(cpu, outputs, inputs, 1, [&](int64_t i) {
      scales[i] = QuantizeRow(weight.data + i * inputs, inputs, /*offset=*/0,
                              reinterpret_cast<uint8_t*>(numbers + i * inputs));
    });
  }
  const int64_t tasks = (outputs + kColumns - 1) / kColumns;
  cpu.threads->ParallelFor(tasks, inputs * kColumns, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin * kColumns; j < std::min(outputs, end * kColumns); j += kColumns) {
      QuantizeColumns(weight.data + j, inputs, outputs, std::min(kColumns, outputs - j),
                      numbers + j, scales + j);
    }
  });
}

}  // namespace tf_ls
