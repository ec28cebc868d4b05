#include <algorithm>
#include <cstring>

#include "cc/kernels/gemm_panels.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

// Rows of B that are packed at once: so many of a column fill a line of the cache.
constexpr int64_t kPackedRows = 16;
// Of k that is summed at once: a piece of a panel stays near in the caches.
constexpr int64_t kDepth = 768;

void PackPanel(const float* b, int64_t k, int64_t columns, int64_t row_stride,
               int64_t column_stride, float* panel) {
  if (columns == kGemmLanes && column_stride == 1) {
    for (int64_t p = 0; p < k; ++p) {
      std::memcpy(panel + p * kGemmLanes, b + p * row_stride, kGemmLanes * sizeof(float));
    }
    return;
  }
  if (columns < kGemmLanes) std::fill(panel, panel + k * kGemmLanes, 0.0f);
  for (int64_t first = 0; first < k; first += kPackedRows) {
    const int64_t last = std::min(k, first + kPackedRows);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t p = first; p < last; ++p) {
        panel[p * kGemmLanes + j] = b[p * row_stride + j * column_stride];
      }
    }
  }
}

}  // namespace

void PackPanels(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
                float* panels) {
  for (int64_t j = 0; j < n; j += kGemmLanes) {
    PackPanel(b + j * column_stride, k, std::min(kGemmLanes, n - j), row_stride, column_stride,
              panels + j * k);
  }
}

void MultiplyPanels(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row_stride,
                    int64_t a_column_stride, const float* panels, const float* bias, float* c,
                    int64_t c_row_stride, bool accumulate) {
  for (int64_t j = 0; j < n; j += kGemmLanes) {
    const int64_t columns = std::min(kGemmLanes, n - j);
    const bool whole = columns == kGemmLanes;
    float* const sums = whole ? c + j : ThreadBuffer<32>(m * kGemmLanes);
    const int64_t stride = whole ? c_row_stride : kGemmLanes;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t l = 0; l < columns; ++l) {
        const float before = accumulate ? c[i * c_row_stride + j + l] : 0.0f;
        sums[i * stride + l] = bias == nullptr ? before : before + bias[j + l];
      }
    }
    for (int64_t p = 0; p < k; p += kDepth) {
      SmallGemm(m, kGemmLanes, std::min(kDepth, k - p), a + p * a_column_stride, a_row_stride,
                a_column_stride, panels + j * k + p * kGemmLanes, kGemmLanes, sums, stride,
                /*accumulate=*/true);
    }
    for (int64_t i = 0; i < m && !whole; ++i) {
      std::copy(sums + i * stride, sums + i * stride + columns, c + i * c_row_stride + j);
    }
  }
}

}  // namespace tf_ls
