#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "cc/kernels/cached_attention.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_math.h"

namespace tf_ls {
namespace {

constexpr int64_t kCacheLine = 64;

// Where the keys and values of a row's positions lie, of one head.
template <typename T>
class Located {
 public:
  // And has those brought to the cache that `before` did not have: they lie scattered, where no
  // processor foresees them.
  template <typename Paths>
  void Locate(const Paths& paths, int64_t row, int64_t head, HeadSlots<const T> keys,
              HeadSlots<const T> values, int64_t head_size, const Located* before) {
    const int64_t length = paths.Length(row);
    keys_.resize(length);
    values_.resize(length);
    for (int64_t i = 0; i < length; ++i) {
      const int64_t slot = paths.Slot(row, i);
      keys_[i] = keys.At(slot, head, i);
      values_[i] = values.At(slot, head, i);
      if (before == nullptr || before->Has(i, keys_[i])) continue;
      for (int64_t j = 0; j < head_size; j += kCacheLine / static_cast<int64_t>(sizeof(T))) {
        __builtin_prefetch(keys_[i] + j);
        __builtin_prefetch(values_[i] + j);
      }
    }
  }

  int64_t length() const { return keys_.size(); }
  const T* const* keys() const { return keys_.data(); }
  const T* const* values() const { return values_.data(); }

 private:
  bool Has(int64_t i, const T* key) const { return i < length() && keys_[i] == key; }

  std::vector<const T*> keys_, values_;
};

// out[head_size] of one query. `kept` gets the weights, unless it is null.
template <typename T>
void Attend(const Located<T>& at, int64_t size, const T* q, T* out, float* kept) {
  if (at.length() == 0) {
    std::fill(out, out + size, T{});
    return;
  }
  float* const query = ThreadBuffer<0>(size);
  row::Scale(ReadRow(q, size, query), 1.0f / std::sqrt(static_cast<float>(size)), size, query);
  float* const weights = kept != nullptr ? kept : ThreadBuffer<1>(at.length());
  row::Products(query, at.keys(), at.length(), size, weights);
  row::Softmax(at.length(), weights);
  float* const result = RowTarget(out, query);
  row::WeightedSum(weights, at.values(), at.length(), size, result);
  WriteRow(result, size, out);
}

// Attends with each row and head, after store(row, head). `kept`: [rows, heads, kept_length], or
// null. Rows that follow each other, whose paths may share much, have the same head one after the
// other: what they share is in the core's cache.
template <typename T, typename Paths, typename Store>
void AttendWithAll(const Cpu& cpu, const CachedAttentionShape& shape, const Paths& paths,
                   HeadRows<const T> q, HeadSlots<const T> keys, HeadSlots<const T> values, T* out,
                   float* kept, int64_t kept_length, const Store& store) {
  const int64_t size = shape.head_size;
  int64_t positions = 0;
  for (int64_t i = 0; i < shape.rows; ++i) positions += paths.Length(i);
  const int64_t average = positions / std::max<int64_t>(1, shape.rows) + 1;
  const int64_t cost = average * (size + 16);  // some 40 ns for each 64 numbers from memory
  cpu.threads->ParallelFor(shape.rows * shape.heads, cost, [&](int64_t begin, int64_t end) {
    thread_local Located<T> now, next;
    const auto locate = [&](int64_t task, const Located<T>* before, Located<T>* located) {
      located->Locate(paths, task % shape.rows, task / shape.rows, keys, values, size, before);
    };
    locate(begin, nullptr, &now);
    for (int64_t task = begin; task < end; ++task) {
      if (task + 1 < end) locate(task + 1, &now, &next);
      const int64_t row = task % shape.rows;
      const int64_t head = task / shape.rows;
      store(row, head);
      Attend(now, size, q.data + row * q.stride + head * size,
             out + row * shape.hidden_size() + head * size,
             kept == nullptr ? nullptr : kept + (row * shape.heads + head) * kept_length);
      std::swap(now, next);
    }
  });
}

// From weights [rows, heads, mean.length].
void AverageOverHeads(const CachedAttentionShape& shape, const SentenceMemory& memory,
                      const float* weights, const MeanWeights& mean) {
  const float share = 1.0f / static_cast<float>(shape.heads);
  for (int64_t row = 0; row < shape.rows; ++row) {
    float* const to = mean.data + row * mean.length;
    std::fill(to, to + mean.length, 0.0f);
    const int64_t seen = memory.Length(row);
    for (int64_t head = 0; head < shape.heads; ++head) {
      row::ScaleAdd(weights + (row * shape.heads + head) * mean.length, share, to, seen, to);
    }
  }
}

}  // namespace

void ExtendPaths(const Cpu& /*cpu*/, const BeamPaths& old, const int32_t* parents,
                 const int32_t* slots, int64_t rows, int32_t* new_slots, int32_t* new_lengths) {
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t length = old.lengths[parents[i]];
    const int32_t* const path = old.slots + parents[i] * old.max_length;
    *std::copy(path, path + length, new_slots + i * old.max_length) = slots[i];
    new_lengths[i] = length + 1;
  }
}

template <typename T>
void CachedSelfAttention(const Cpu& cpu, const CachedAttentionShape& shape, const BeamPaths& paths,
                         HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                         HeadSlots<T> keys, HeadSlots<T> values, T* out) {
  const auto store = [&](int64_t row, int64_t head) {
    const int64_t last = paths.Length(row) - 1;
    const int64_t slot = paths.Slot(row, last);
    const auto append = [&](HeadRows<const T> from, HeadSlots<T> to) {
      std::copy_n(from.data + row * from.stride + head * shape.head_size, shape.head_size,
                  to.At(slot, head, last));
    };
    append(k, keys);
    append(v, values);
  };
  AttendWithAll<T>(cpu, shape, paths, q, keys.ToRead(), values.ToRead(), out, /*kept=*/nullptr,
                   /*kept_length=*/0, store);
}

template <typename T>
void CachedCrossAttention(const Cpu& cpu, const CachedAttentionShape& shape,
                          const SentenceMemory& memory, HeadRows<const T> q,
                          HeadSlots<const T> keys, HeadSlots<const T> values, T* out,
                          const MeanWeights& mean_weights) {
  const ArenaScope scope(cpu.arena);
  const int64_t length = mean_weights.length;
  float* const weights = mean_weights.data == nullptr
                             ? nullptr
                             : cpu.arena->Allocate<float>(shape.rows * shape.heads * length);
  AttendWithAll<T>(cpu, shape, memory, q, keys, values, out, weights, length,
                   [](int64_t /*row*/, int64_t /*head*/) {});
  if (weights != nullptr) AverageOverHeads(shape, memory, weights, mean_weights);
}

template void CachedSelfAttention(const Cpu&, const CachedAttentionShape&, const BeamPaths&,
                                  HeadRows<const float>, HeadRows<const float>,
                                  HeadRows<const float>, HeadSlots<float>, HeadSlots<float>,
                                  float*);
template void CachedSelfAttention(const Cpu&, const CachedAttentionShape&, const BeamPaths&,
                                  HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                                  HeadRows<const bfloat16>, HeadSlots<bfloat16>,
                                  HeadSlots<bfloat16>, bfloat16*);
template void CachedCrossAttention(const Cpu&, const CachedAttentionShape&, const SentenceMemory&,
                                   HeadRows<const float>, HeadSlots<const float>,
                                   HeadSlots<const float>, float*, const MeanWeights&);
template void CachedCrossAttention(const Cpu&, const CachedAttentionShape&, const SentenceMemory&,
                                   HeadRows<const bfloat16>, HeadSlots<const bfloat16>,
                                   HeadSlots<const bfloat16>, bfloat16*, const MeanWeights&);

}  // namespace tf_ls
