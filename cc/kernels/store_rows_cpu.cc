#include <algorithm>

#include "cc/core/bfloat16.h"
#include "cc/kernels/store_rows.h"

namespace tf_ls {

template <typename T>
void StoreRows(const Cpu& cpu, const CachePlaces& places, int64_t heads, int64_t head_size,
               HeadRows<const T> rows, HeadSlots<T> cache) {
  const int64_t cost = heads * head_size / 8 + 1;
  cpu.threads->ParallelFor(places.count, cost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* const row = rows.data + i * rows.stride;
      for (int64_t head = 0; head < heads; ++head) {
        std::copy_n(row + head * head_size, head_size,
                    cache.At(places.slots[i], head, places.positions[i]));
      }
    }
  });
}

template void StoreRows(const Cpu&, const CachePlaces&, int64_t, int64_t, HeadRows<const float>,
                        HeadSlots<float>);
template void StoreRows(const Cpu&, const CachePlaces&, int64_t, int64_t, HeadRows<const bfloat16>,
                        HeadSlots<bfloat16>);

}  // namespace tf_ls
