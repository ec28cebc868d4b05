#ifndef TF_LS_CC_KERNELS_GPU_ATTENTION_CU_H_
#define TF_LS_CC_KERNELS_GPU_ATTENTION_CU_H_

#include <cstdint>

#include "cc/kernels/attention.h"
#include "cc/kernels/gpu_primitives.cu.h"

// What the attention kernels on the GPU have in common: who works on which rows, and which keys a
// query sees. The host knows how many sentences and rows there are, not where the sentences begin.
namespace tf_ls {
namespace gpu {

// A sentence's rows among all queries and among all keys. Sentence number `count` stands for the
// rows behind the last one: they see nothing.
struct SentenceRows {
  int query_row, queries;
  int key_row, key_rows;
  int keys;      // of key_rows rows, so many may be attended to
  int diagonal;  // query i sees the keys before i + diagonal

  __device__ SentenceRows(const AttentionShape& shape, int64_t i)
      : query_row(shape.queries.offsets[i]),
        queries(End(shape.queries, i) - query_row),
        key_row(shape.keys.offsets[i]),
        key_rows(End(shape.keys, i) - key_row),
        keys(i < shape.keys.count ? shape.keys.lengths[i] : 0) {
    constexpr int64_t kFar = 1 << 30;  // further than any row; sums with it still fit 32 bits
    diagonal = static_cast<int>(max(-kFar, min(kFar, shape.lag)));
    if (shape.causal) diagonal = min(diagonal, 1 + key_rows - queries);
  }

  __device__ static int End(const Sentences& sentences, int64_t i) {
    return i < sentences.count ? sentences.offsets[i + 1] : static_cast<int>(sentences.rows);
  }

  // How many keys query i sees.
  __device__ int Seen(int i) const { return max(0, min(keys, i + diagonal)); }
  // The first query that sees key j.
  __device__ int FirstSeeing(int j) const { return max(0, j + 1 - diagonal); }
};

// Sentence i's tiles of `tile` rows have the numbers from offsets[i] / tile + i on: no two tiles
// have the same, some numbers have none, and tile and sentence are found without a list.
template <int tile>
unsigned TileSlots(const Sentences& sentences) {
  return static_cast<unsigned>(sentences.rows / tile + sentences.count + 1);
}

// The sentence of tile `slot`, if it has one; all lanes of a warp search together.
template <int tile>
__device__ int SentenceOfSlot(const Sentences& sentences, int slot) {
  const int lane = threadIdx.x % kWarp;
  int first = 0;
  int candidates = static_cast<int>(sentences.count) + 1;
  while (candidates > 1) {
    const int step = (candidates + kWarp - 1) / kWarp;
    const int offset = lane * step;
    const bool starts =
        offset < candidates && sentences.offsets[first + offset] / tile + first + offset <= slot;
    const int last = __popc(__ballot_sync(kAllLanes, starts)) - 1;  // the first one starts
    first += last * step;
    candidates = min(step, candidates - last * step);
  }
  return first;
}

// The first row, within its sentence, of tile `slot`.
template <int tile>
__device__ int FirstRowOfSlot(const Sentences& sentences, int sentence, int slot) {
  return (slot - sentences.offsets[sentence] / tile - sentence) * tile;
}

// Where one head's part of a row is.
template <typename T>
__device__ T* HeadOfRow(HeadRows<T> rows, int64_t row, int head, int head_size) {
  return rows.data + row * rows.stride + head * head_size;
}

__device__ inline float ScoreScale(int head_size) { return 1.0f / sqrtf(head_size); }
// Not contracted with a subtraction behind it: forward and backward have to agree on a score to its
// last bit, for that of a large one decides over its weight.
__device__ inline float Score(float product, float scale) { return __fmul_rn(product, scale); }

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_ATTENTION_CU_H_
