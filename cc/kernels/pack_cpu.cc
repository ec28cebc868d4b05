#include <algorithm>
#include <cstring>

#include "cc/kernels/pack.h"

namespace tf_ls {
namespace {

constexpr int64_t kNone = -1;

// The cycles that copying a row takes.
int64_t Cost(int64_t row_bytes) { return row_bytes / 16 + 1; }

}  // namespace

void PackRows(const Cpu& cpu, const void* x, int64_t positions, const int32_t* indices,
              int64_t rows, int64_t row_bytes, void* y) {
  const auto* const from = static_cast<const unsigned char*>(x);
  auto* const to = static_cast<unsigned char*>(y);
  cpu.threads->ParallelFor(rows, Cost(row_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = indices[i];
      if (index >= 0 && index < positions) {
        std::memcpy(to + i * row_bytes, from + index * row_bytes, row_bytes);
      } else {
        std::memset(to + i * row_bytes, index == kNone ? 0 : 0xff, row_bytes);
      }
    }
  });
}

void UnpackRows(const Cpu& cpu, const void* x, const int32_t* indices, int64_t rows,
                int64_t row_bytes, int64_t positions, void* y) {
  const ArenaScope scope(cpu.arena);
  int64_t* const row_of = cpu.arena->Allocate<int64_t>(positions);
  std::fill(row_of, row_of + positions, kNone);
  for (int64_t i = 0; i < rows; ++i) {
    if (indices[i] >= 0 && indices[i] < positions) row_of[indices[i]] = i;
  }
  const auto* const from = static_cast<const unsigned char*>(x);
  auto* const to = static_cast<unsigned char*>(y);
  cpu.threads->ParallelFor(positions, Cost(row_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (row_of[i] == kNone) {
        std::memset(to + i * row_bytes, 0, row_bytes);
      } else {
        std::memcpy(to + i * row_bytes, from + row_of[i] * row_bytes, row_bytes);
      }
    }
  });
}

}  // namespace tf_ls
