#include "cc/kernels/dequantize.h"
#include "cc/kernels/gpu_chunk.cu.h"

namespace tf_ls {
namespace {

// Reads rows * columns * (1 + 4) bytes, the scales mostly from the caches, and writes
// rows * columns * sizeof(T).
template <typename T, bool packed>
struct ScaleNumbers {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ void operator()(int64_t row, int64_t column) const {
    gpu::Chunk<int8_t, packed, kCount> number;
    gpu::Chunk<float, /*packed=*/false, kCount> scale;
    gpu::Chunk<T, packed> out;
    number.Load(numbers.data + row * columns, column, columns);
    if (!transposed) scale.Load(numbers.scales, column, columns);
    const float of_row = transposed ? numbers.scales[row] : 0.0f;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      out.values[i] = number.values[i] * (transposed ? of_row : scale.values[i]);
    }
    out.Store(to + row * columns, column, columns);
  }

  const Int8Numbers numbers;
  const int64_t columns;
  const bool transposed;
  T* const to;
};

}  // namespace

template <typename T>
void Dequantize(const Gpu& gpu, const Int8Numbers& numbers, int64_t rows, int64_t columns,
                bool transposed, T* to) {
  const auto run = [&](auto packed) {
    gpu::ForEachChunk(gpu.stream, rows, columns,
                      ScaleNumbers<T, decltype(packed)::value>{numbers, columns, transposed, to});
  };
  gpu::ForPacked<T>(run, columns, numbers.data, to);
}

template void Dequantize(const Gpu&, const Int8Numbers&, int64_t, int64_t, bool, float*);
template void Dequantize(const Gpu&, const Int8Numbers&, int64_t, int64_t, bool, float16*);
template void Dequantize(const Gpu&, const Int8Numbers&, int64_t, int64_t, bool, bfloat16*);

}  // namespace tf_ls
