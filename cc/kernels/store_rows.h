#ifndef TF_LS_CC_KERNELS_STORE_ROWS_H_
#define TF_LS_CC_KERNELS_STORE_ROWS_H_

#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/attention.h"
#include "cc/kernels/cached_attention.h"

namespace tf_ls {

// Where rows of keys or values go in a cache. In the memory of the device.
struct CachePlaces {
  int64_t count;
  const int32_t* slots;      // [count]
  const int32_t* positions;  // [count]
};

// Writes keys or values of many positions at once to where a generation loop's steps look for them:
// the vector of row i and of each head to slot places.slots[i], position places.positions[i]. No
// two rows have the same place. Cost: reads and writes heads * head_size numbers a row.
template <typename T>
void StoreRows(const Cpu& cpu, const CachePlaces& places, int64_t heads, int64_t head_size,
               HeadRows<const T> rows, HeadSlots<T> cache);
template <typename T>
void StoreRows(const Gpu& gpu, const CachePlaces& places, int64_t heads, int64_t head_size,
               HeadRows<const T> rows, HeadSlots<T> cache);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_STORE_ROWS_H_
