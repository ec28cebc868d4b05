#include "cc/core/multiversion.h"
#include "cc/kernels/lanes.h"
#include "cc/kernels/panel_product.h"

namespace tf_ls {
namespace {

constexpr int kVectors = kPanelColumns / kLanes;
// How far ahead lines are asked for, in bytes: across the end of a page, where processors stop
// looking ahead by themselves.
constexpr int64_t kAhead = 4096;
constexpr int64_t kCacheLine = 64;

// Asks for what is kAhead behind the next `bytes`.
TF_LS_INLINE void LookAhead(const void* from, int64_t bytes) {
  const char* const ahead = static_cast<const char*>(from) + kAhead;
  for (int64_t i = 0; i < bytes; i += kCacheLine) __builtin_prefetch(ahead + i);
}

template <int rows>
TF_LS_INLINE void Sum(const float* x, int64_t x_stride, int64_t k, const float* panel, float* y) {
  Lanes sums[rows][kVectors] = {};
  for (int64_t p = 0; p < k; ++p) {
    const float* const line = panel + p * kPanelColumns;
    LookAhead(line, kPanelColumns * sizeof(float));
    for (int v = 0; v < kVectors; ++v) {
      const Lanes weights = LoadLanes(line + v * kLanes);
      for (int i = 0; i < rows; ++i) sums[i][v] += x[i * x_stride + p] * weights;
    }
  }
  std::memcpy(y, sums, sizeof(sums));
}

template <int rows>
TF_LS_INLINE void Sum(const float* x, int64_t x_stride, int64_t k, const bfloat16* panel,
                      float* y) {
  Lanes sums[rows][kVectors] = {};
  for (int64_t p = 0; p < k; p += 2) {
    const bfloat16* const line = panel + p * kPanelColumns;
    LookAhead(line, 2 * kPanelColumns * sizeof(bfloat16));
    for (int v = 0; v < kVectors; ++v) {
      const LanePairs weights = LoadLanePairs(line + v * 2 * kLanes);
      for (int i = 0; i < rows; ++i) {
        sums[i][v] += x[i * x_stride + p] * weights.first;
        sums[i][v] += x[i * x_stride + p + 1] * weights.second;
      }
    }
  }
  std::memcpy(y, sums, sizeof(sums));
}

template <typename T>
TF_LS_INLINE void SumOf(const float* x, int64_t x_stride, int64_t rows, int64_t k, const T* panel,
                        float* y) {
  switch (rows) {
    case 1:
      return Sum<1>(x, x_stride, k, panel, y);
    case 2:
      return Sum<2>(x, x_stride, k, panel, y);
    case 3:
      return Sum<3>(x, x_stride, k, panel, y);
    default:
      return Sum<4>(x, x_stride, k, panel, y);
  }
}

}  // namespace

TF_LS_MULTIVERSION void PanelProduct(const float* x, int64_t x_stride, int64_t rows, int64_t k,
                                     const float* panel, float* y) {
  SumOf(x, x_stride, rows, k, panel, y);
}

TF_LS_MULTIVERSION void PanelProduct(const float* x, int64_t x_stride, int64_t rows, int64_t k,
                                     const bfloat16* panel, float* y) {
  SumOf(x, x_stride, rows, k, panel, y);
}

}  // namespace tf_ls
