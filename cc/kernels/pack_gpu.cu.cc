#include <cstring>

#include "cc/kernels/gpu_chunk.cu.h"
#include "cc/kernels/pack.h"

namespace tf_ls {
namespace {

// Reads and writes `rows` rows and their indices: rows * (2 * row_bytes + 4) bytes.
template <typename Unit>
struct Gather {
  static constexpr int kCount = 1;

  __device__ void operator()(int64_t row, int64_t column) const {
    const int64_t index = indices[row];
    Unit value;
    if (index >= 0 && index < positions) {
      value = x[index * width + column];
    } else {
      memset(&value, index == -1 ? 0 : 0xff, sizeof(Unit));
    }
    y[row * width + column] = value;
  }

  const Unit* const x;
  const int64_t positions;
  const int32_t* const indices;
  const int64_t width;
  Unit* const y;
};

template <typename Unit>
struct Scatter {
  static constexpr int kCount = 1;

  __device__ void operator()(int64_t row, int64_t column) const {
    const int64_t index = indices[row];
    if (index >= 0 && index < positions) {
      y[index * width + column] = x[row * width + column];
    }
  }

  const Unit* const x;
  const int64_t positions;
  const int32_t* const indices;
  const int64_t width;
  Unit* const y;
};

// Calls body(row, column) for rows of row_bytes bytes, in units that x and y can be copied in.
template <template <typename> class Body>
void Copy(const Gpu& gpu, const void* x, int64_t positions, const int32_t* indices, int64_t rows,
          int64_t row_bytes, void* y) {
  gpu::ForCopyUnit({gpu::Address(x), gpu::Address(y), static_cast<uint64_t>(row_bytes)},
                   [&](auto unit) {
                     using Unit = decltype(unit);
                     const int64_t width = row_bytes / sizeof(Unit);
                     gpu::ForEachChunk(gpu.stream, rows, width,
                                       Body<Unit>{static_cast<const Unit*>(x), positions, indices,
                                                  width, static_cast<Unit*>(y)});
                   });
}

}  // namespace

void PackRows(const Gpu& gpu, const void* x, int64_t positions, const int32_t* indices,
              int64_t rows, int64_t row_bytes, void* y) {
  Copy<Gather>(gpu, x, positions, indices, rows, row_bytes, y);
}

// Writes all positions once and `rows` of them again, in the second-level cache as far as it goes:
// (positions + 2 * rows) * row_bytes bytes.
void UnpackRows(const Gpu& gpu, const void* x, const int32_t* indices, int64_t rows,
                int64_t row_bytes, int64_t positions, void* y) {
  gpu::Check(cudaMemsetAsync(y, 0, positions * row_bytes, gpu.stream));
  Copy<Scatter>(gpu, x, positions, indices, rows, row_bytes, y);
}

}  // namespace tf_ls
