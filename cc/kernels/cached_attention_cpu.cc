#include <algorithm>
#include <cmath>
#include <vector>

#include "cc/kernels/cached_attention.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_math.h"

namespace tf_ls {
namespace {

// Where one head's keys or values of a row's positions lie, for as long as this thread does not ask
// for others.
template <typename T, typename Paths>
const T* const* Locate(const Paths& paths, int64_t row, int64_t head, HeadSlots<const T> slots) {
  thread_local std::vector<const T*> vectors;
  const int64_t length = paths.Length(row);
  vectors.resize(length);
  for (int64_t i = 0; i < length; ++i) vectors[i] = slots.At(paths.Slot(row, i), head, i);
  return vectors.data();
}

// `kept` gets the weights, unless it is null.
template <typename T, typename Paths>
void Attend(const CachedAttentionShape& shape, const Paths& paths, int64_t row, int64_t head,
            HeadRows<const T> q, HeadSlots<const T> keys, HeadSlots<const T> values, T* out,
            float* kept = nullptr) {
  const int64_t size = shape.head_size;
  const int64_t length = paths.Length(row);
  T* const to = out + row * shape.hidden_size() + head * size;
  if (length == 0) {
    std::fill(to, to + size, T{});
    return;
  }
  float* const query = ThreadBuffer<0>(size);
  row::Scale(ReadRow(q.data + row * q.stride + head * size, size, query),
             1.0f / std::sqrt(static_cast<float>(size)), size, query);
  float* const weights = kept != nullptr ? kept : ThreadBuffer<1>(length);
  row::Products(query, Locate(paths, row, head, keys), length, size, weights);
  row::Softmax(length, weights);
  float* const result = RowTarget(to, query);
  row::WeightedSum(weights, Locate(paths, row, head, values), length, size, result);
  WriteRow(result, size, to);
}

// Calls body(row, head) for all of them. Rows that follow each other, whose paths may share much,
// have the same head: what they share is in the core's cache.
template <typename Paths, typename Body>
void ForEachHead(const Cpu& cpu, const CachedAttentionShape& shape, const Paths& paths,
                 const Body& body) {
  int64_t positions = 0;
  for (int64_t i = 0; i < shape.rows; ++i) positions += paths.Length(i);
  const int64_t average = positions / std::max<int64_t>(1, shape.rows) + 1;
  cpu.threads->ParallelFor(shape.rows * shape.heads, average * (shape.head_size / 4 + 4),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t task = begin; task < end; ++task)
                               body(task % shape.rows, task / shape.rows);
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
  ForEachHead(cpu, shape, paths, [&](int64_t row, int64_t head) {
    const int64_t last = paths.Length(row) - 1;
    const int64_t slot = paths.Slot(row, last);
    const auto append = [&](HeadRows<const T> from, HeadSlots<T> to) {
      std::copy_n(from.data + row * from.stride + head * shape.head_size, shape.head_size,
                  to.At(slot, head, last));
    };
    append(k, keys);
    append(v, values);
    Attend<T>(shape, paths, row, head, q, keys.ToRead(), values.ToRead(), out);
  });
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
  ForEachHead(cpu, shape, memory, [&](int64_t row, int64_t head) {
    float* const kept =
        weights == nullptr ? nullptr : weights + (row * shape.heads + head) * length;
    Attend<T>(shape, memory, row, head, q, keys, values, out, kept);
  });
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
