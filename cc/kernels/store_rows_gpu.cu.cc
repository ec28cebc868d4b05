#include "cc/core/float16.h"
#include "cc/kernels/gpu_chunk.cu.h"
#include "cc/kernels/store_rows.h"

namespace tf_ls {
namespace {

// Reads and writes every row once: 2 * count * heads * head_size * sizeof(T) bytes.
template <typename Unit>
struct Store {
  static constexpr int kCount = 1;

  __device__ void operator()(int64_t row, int64_t column) const {
    const int head = static_cast<int>(column) / width;
    const int place = static_cast<int>(column) % width;
    cache.At(places.slots[row], head, places.positions[row])[place] =
        rows.data[row * rows.stride + column];
  }

  const CachePlaces places;
  const HeadRows<const Unit> rows;
  const HeadSlots<Unit> cache;
  const int width;  // units of a head
};

}  // namespace

template <typename T>
void StoreRows(const Gpu& gpu, const CachePlaces& places, int64_t heads, int64_t head_size,
               HeadRows<const T> rows, HeadSlots<T> cache) {
  const auto bytes = [](int64_t numbers) { return static_cast<uint64_t>(numbers) * sizeof(T); };
  const auto run = [&](auto unit) {
    using Unit = decltype(unit);
    const auto units = [](int64_t numbers) {
      return numbers * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(Unit));
    };
    gpu::ForEachChunk(gpu.stream, places.count, units(heads * head_size),
                      Store<Unit>{places,
                                  {reinterpret_cast<const Unit*>(rows.data), units(rows.stride)},
                                  {reinterpret_cast<Unit*>(cache.data), units(cache.slot_stride),
                                   units(cache.head_stride), units(cache.position_stride)},
                                  static_cast<int>(units(head_size))});
  };
  gpu::ForCopyUnit(
      {gpu::Address(rows.data), gpu::Address(cache.data), bytes(head_size), bytes(rows.stride),
       bytes(cache.slot_stride), bytes(cache.head_stride), bytes(cache.position_stride)},
      run);
}

template void StoreRows(const Gpu&, const CachePlaces&, int64_t, int64_t, HeadRows<const float>,
                        HeadSlots<float>);
template void StoreRows(const Gpu&, const CachePlaces&, int64_t, int64_t, HeadRows<const float16>,
                        HeadSlots<float16>);
template void StoreRows(const Gpu&, const CachePlaces&, int64_t, int64_t, HeadRows<const bfloat16>,
                        HeadSlots<bfloat16>);

}  // namespace tf_ls
