#include "cc/kernels/append_rows.h"
#include "cc/kernels/gpu_chunk.cu.h"

namespace tf_ls {
namespace {

// Where the rows of grown sentences come from: number i of all is one of `before` old rows of its
// sentence, or one of `added` new ones.
struct Growth {
  // Calls old(row) or fresh(row) with the row's number among its like.
  template <typename Old, typename Fresh>
  __device__ auto Find(int64_t i, const Old& old, const Fresh& fresh) const {
    const int64_t sentence = i / (before + added);
    const int64_t position = i % (before + added);
    return position < before ? old(sentence * before + position)
                             : fresh(sentence * added + position - before);
  }

  int64_t before;
  int64_t added;
};

// Reads and writes every row once: 2 * batch * (before + added) * n * sizeof(T) bytes.
template <typename Unit>
struct Append {
  static constexpr int kCount = 1;

  __device__ void operator()(int64_t row, int64_t column) const {
    const Unit* const from = growth.Find(
        row, [&](int64_t i) { return x + i * width; },
        [&](int64_t i) { return rows + i * stride; });
    y[row * width + column] = from[column];
  }

  const Growth growth;
  const Unit* const x;
  const Unit* const rows;
  const int64_t stride;
  const int64_t width;
  Unit* const y;
};

// Reads dy1 and dy2, writes dx and drows: 3 * batch * (before + added) * n * sizeof(T) bytes.
template <typename T, bool packed>
struct AppendGradient {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ void operator()(int64_t row, int64_t column) const {
    gpu::Chunk<T, packed> sum, other;
    sum.Load(dy1 + row * n, column, n);
    other.Load(dy2 + row * n, column, n);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum.values[i] += other.values[i];
    T* const to = growth.Find(
        row, [&](int64_t i) { return dx + i * n; }, [&](int64_t i) { return drows + i * stride; });
    sum.Store(to, column, n);
  }

  const Growth growth;
  const T* const dy1;
  const T* const dy2;
  const int64_t n;
  T* const dx;
  T* const drows;
  const int64_t stride;
};

}  // namespace

template <typename T>
void AppendRows(const Gpu& gpu, const T* x, int64_t batch, int64_t before, HeadRows<const T> rows,
                int64_t added, int64_t n, T* y) {
  const int64_t row_bytes = n * sizeof(T);
  const int64_t stride_bytes = rows.stride * sizeof(T);
  gpu::ForCopyUnit({gpu::Address(x), gpu::Address(rows.data), gpu::Address(y),
                    static_cast<uint64_t>(row_bytes), static_cast<uint64_t>(stride_bytes)},
                   [&](auto unit) {
                     using Unit = decltype(unit);
                     const int64_t width = row_bytes / sizeof(Unit);
                     gpu::ForEachChunk(
                         gpu.stream, batch * (before + added), width,
                         Append<Unit>{{before, added},
                                      reinterpret_cast<const Unit*>(x),
                                      reinterpret_cast<const Unit*>(rows.data),
                                      static_cast<int64_t>(stride_bytes / sizeof(Unit)),
                                      width,
                                      reinterpret_cast<Unit*>(y)});
                   });
}

template <typename T>
void AppendRowsGradient(const Gpu& gpu, const T* dy1, const T* dy2, int64_t batch, int64_t before,
                        int64_t added, int64_t n, T* dx, HeadRows<T> drows) {
  const auto run = [&](auto packed) {
    gpu::ForEachChunk(gpu.stream, batch * (before + added), n,
                      AppendGradient<T, decltype(packed)::value>{
                          {before, added}, dy1, dy2, n, dx, drows.data, drows.stride});
  };
  if (drows.stride % (16 / sizeof(T)) == 0) {
    gpu::ForPacked<T>(run, n, dy1, dy2, dx, drows.data);
  } else {
    run(std::false_type());
  }
}

template void AppendRows(const Gpu&, const float*, int64_t, int64_t, HeadRows<const float>, int64_t,
                         int64_t, float*);
template void AppendRows(const Gpu&, const float16*, int64_t, int64_t, HeadRows<const float16>,
                         int64_t, int64_t, float16*);
template void AppendRows(const Gpu&, const bfloat16*, int64_t, int64_t, HeadRows<const bfloat16>,
                         int64_t, int64_t, bfloat16*);
template void AppendRowsGradient(const Gpu&, const float*, const float*, int64_t, int64_t, int64_t,
                                 int64_t, float*, HeadRows<float>);
template void AppendRowsGradient(const Gpu&, const float16*, const float16*, int64_t, int64_t,
                                 int64_t, int64_t, float16*, HeadRows<float16>);
template void AppendRowsGradient(const Gpu&, const bfloat16*, const bfloat16*, int64_t, int64_t,
                                 int64_t, int64_t, bfloat16*, HeadRows<bfloat16>);

}  // namespace tf_ls
