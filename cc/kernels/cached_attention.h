#ifndef TF_LS_CC_KERNELS_CACHED_ATTENTION_H_
#define TF_LS_CC_KERNELS_CACHED_ATTENTION_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/core/host_device.h"
#include "cc/kernels/attention.h"

// Attention inside a generation loop: one new query a row, against keys and values that stay where
// they were written. A row is a beam; when beams are reordered, what moves is a table of a few
// bytes a position, one for all layers, which says where a beam's past lies.
namespace tf_ls {

// Keys or values of many positions, a vector of head_size numbers for each slot, head and position.
template <typename T>
struct HeadSlots {
  T* data;
  int64_t slot_stride;  // in numbers
  int64_t head_stride;
  int64_t position_stride;

  TF_LS_HOST_DEVICE T* At(int64_t slot, int64_t head, int64_t position) const {
    return data + slot * slot_stride + head * head_stride + position * position_stride;
  }
  HeadSlots<const T> ToRead() const { return {data, slot_stride, head_stride, position_stride}; }
};

// [slots, heads, max_length, head_size], for what grows by a position a step. All that a head reads
// lies in one piece, as far as its beam's past lies in one slot: it is read straight ahead.
template <typename T>
HeadSlots<T> GrowingSlots(T* data, int64_t heads, int64_t max_length, int64_t head_size) {
  return {data, heads * max_length * head_size, max_length * head_size, head_size};
}

// [sentences, length, heads, head_size], as a product makes the keys or values of a memory. Rows
// are `row_stride` numbers apart: keys and values may lie side by side.
template <typename T>
HeadSlots<T> MemorySlots(T* data, int64_t length, int64_t row_stride, int64_t head_size) {
  return {data, length * row_stride, head_size, row_stride};
}

struct CachedAttentionShape {
  int64_t rows;
  int64_t heads;
  int64_t head_size;

  int64_t hidden_size() const { return heads * head_size; }
};

// Where each row's past lies: the key and the value of its position p in slot
// slots[row * max_length + p], at position p, for p < lengths[row]. In the memory of the device.
struct BeamPaths {
  const int32_t* slots;    // [rows, max_length]
  const int32_t* lengths;  // [rows], up to max_length
  int64_t max_length;

  TF_LS_HOST_DEVICE int64_t Length(int64_t row) const { return lengths[row]; }
  TF_LS_HOST_DEVICE int64_t Slot(int64_t row, int64_t position) const {
    return slots[row * max_length + position];
  }
};

// The beams of a sentence share its memory: a row sees the first lengths[sentence_of[row]]
// positions of the slot sentence_of[row]. In the memory of the device.
struct SentenceMemory {
  const int32_t* sentence_of;  // [rows]
  const int32_t* lengths;      // [sentences]

  TF_LS_HOST_DEVICE int64_t Length(int64_t row) const { return lengths[sentence_of[row]]; }
  TF_LS_HOST_DEVICE int64_t Slot(int64_t row, int64_t /*position*/) const {
    return sentence_of[row];
  }
};

// Where the weights go that cross-attention gives the positions of the memory, averaged over the
// heads: float32 [rows, length], zeros behind what a row sees, which is at most `length`. Nowhere
// if data is null.
struct MeanWeights {
  float* data = nullptr;
  int64_t length = 0;
};

// Continues the paths of beams that have been chosen by one position: row i is what row parents[i]
// was, followed by slots[i]. new_slots[rows, old.max_length] and new_lengths[rows] must not be
// old's memory: two tables take turns. The first step continues paths of length 0.
//
// Who calls sees to it that no path is longer than max_length, and that no two rows write the same
// position of the same slot while a path leads there: as many slots for each sentence as it has
// beams do, of which its rows take one each, in any order.
//
// Cost: reads and writes 4 bytes a position, where a cache would be moved by 2 * hidden_size
// numbers a position in every layer.
void ExtendPaths(const Cpu& cpu, const BeamPaths& old, const int32_t* parents, const int32_t* slots,
                 int64_t rows, int32_t* new_slots, int32_t* new_lengths);
void ExtendPaths(const Gpu& gpu, const BeamPaths& old, const int32_t* parents, const int32_t* slots,
                 int64_t rows, int32_t* new_slots, int32_t* new_lengths);

// Writes k and v, the key and value of each row's last position, to the end of its path, and
// attends to the whole path: out = softmax(q * keys^T / sqrt(head_size)) * values, in rows of
// hidden_size. Softmax is float32. Every row has a position, its newest, that no other row's path
// leads to. On the GPU head_size is up to 256.
//
// Cost: reads 2 * hidden_size numbers and 4 bytes for each position of each row (what beams have in
// common comes from the caches then) and writes 2 * hidden_size numbers a row; as many flops as it
// reads numbers, twice.
template <typename T>
void CachedSelfAttention(const Cpu& cpu, const CachedAttentionShape& shape, const BeamPaths& paths,
                         HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                         HeadSlots<T> keys, HeadSlots<T> values, T* out);
template <typename T>
void CachedSelfAttention(const Gpu& gpu, const CachedAttentionShape& shape, const BeamPaths& paths,
                         HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                         HeadSlots<T> keys, HeadSlots<T> values, T* out);

// The same against a memory, to which nothing is written. Without any position out is zero. Cost:
// as above, and with mean_weights heads * 4 bytes a position written and read; rows of a sentence
// should be neighbours, so that they find its memory in the caches.
template <typename T>
void CachedCrossAttention(const Cpu& cpu, const CachedAttentionShape& shape,
                          const SentenceMemory& memory, HeadRows<const T> q,
                          HeadSlots<const T> keys, HeadSlots<const T> values, T* out,
                          const MeanWeights& mean_weights = {});
template <typename T>
void CachedCrossAttention(const Gpu& gpu, const CachedAttentionShape& shape,
                          const SentenceMemory& memory, HeadRows<const T> q,
                          HeadSlots<const T> keys, HeadSlots<const T> values, T* out,
                          const MeanWeights& mean_weights = {});

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CACHED_ATTENTION_H_
