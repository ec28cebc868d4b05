#include <stdexcept>
#include <string>
#include <type_traits>

#include "cc/kernels/gpu_attention.cu.h"
#include "cc/kernels/plain_attention.h"

namespace tf_ls {
namespace {

using gpu::HeadOfRow;
using gpu::kAllLanes;
using gpu::kWarp;
using gpu::SentenceRows;
using gpu::WarpSum;

// A warp works on a few rows of its own, queries or keys, and meets the others in groups such that
// there is a pair for each lane. In between, each lane has some of every vector's numbers.
constexpr int kMine = 4;
constexpr int kOthers = kWarp / kMine;
constexpr int kWarps = 4;
constexpr int kTile = kWarps * kMine;  // rows of a block

template <int elements>
struct Vector {
  float values[elements];

  __device__ float& operator[](int e) { return values[e]; }
  __device__ void Clear() {
#pragma unroll
    for (int e = 0; e < elements; ++e) values[e] = 0.0f;
  }

  // Zeros if not `there`.
  template <typename T>
  __device__ void Load(const T* from, int size, bool there) {
#pragma unroll
    for (int e = 0; e < elements; ++e) {
      const int i = e * kWarp + threadIdx.x % kWarp;
      values[e] = there && i < size ? gpu::Widen(from[i]) : 0.0f;
    }
  }

  template <typename T>
  __device__ void Store(T* to, int size, float factor) const {
#pragma unroll
    for (int e = 0; e < elements; ++e) {
      const int i = e * kWarp + threadIdx.x % kWarp;
      if (i < size) to[i] = gpu::Narrow<T>(values[e] * factor);
    }
  }

  // This lane's share of the product of two vectors.
  __device__ float Dot(const Vector& other) const {
    float sum = 0.0f;
#pragma unroll
    for (int e = 0; e < elements; ++e) sum += values[e] * other.values[e];
    return sum;
  }
  __device__ void MultiplyAdd(float factor, const Vector& other) {
#pragma unroll
    for (int e = 0; e < elements; ++e) values[e] += factor * other.values[e];
  }
};

// Each lane brings a share of 32 sums and gets one sum: lane i that of shares[i].
template <int half = kWarp / 2>
__device__ float SumForEachLane(float (&shares)[kWarp]) {
  const bool upper = (threadIdx.x & half) != 0;
#pragma unroll
  for (int i = 0; i < half; ++i) {
    const float give = upper ? shares[i] : shares[i + half];
    const float keep = upper ? shares[i + half] : shares[i];
    shares[i] = keep + __shfl_xor_sync(kAllLanes, give, half);
  }
  if constexpr (half > 1) return SumForEachLane<half / 2>(shares);
  return shares[0];
}

// Sum and maximum over the lanes whose pairs have the same row of the warp's own.
__device__ float SumOverOthers(float x) {
#pragma unroll
  for (int offset = kOthers / 2; offset > 0; offset /= 2)
    x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
__device__ float MaxOverOthers(float x) {
#pragma unroll
  for (int offset = kOthers / 2; offset > 0; offset /= 2)
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  return x;
}

// A lane's pair.
__device__ int MyRow() { return threadIdx.x % kWarp / kOthers; }
__device__ int MyOther() { return threadIdx.x % kOthers; }

__device__ float DropoutFactor(const Dropout& dropout, uint32_t row, uint32_t lane, int column) {
  if (!dropout.active()) return 1.0f;
  uint32_t words[4] = {static_cast<uint32_t>(column / 4), row, lane,
                       static_cast<uint32_t>(dropout.site)};
  Philox::Generate(dropout.seed, words);
  const uint32_t low = (column & 1) != 0 ? words[1] : words[0];
  const uint32_t high = (column & 1) != 0 ? words[3] : words[2];
  return ((column & 2) != 0 ? high : low) < dropout.threshold() ? 0.0f : dropout.scale();
}

template <typename T, int elements>
__global__ void __launch_bounds__(kWarps* kWarp)
    Forward(AttentionShape shape, Dropout dropout, HeadRows<const T> q, HeadRows<const T> k,
            HeadRows<const T> v, HeadRows<T> out, float* log_sums) {
  const int slot = blockIdx.x;
  const int head = blockIdx.y;
  const int size = static_cast<int>(shape.head_size);
  const float scale = gpu::ScoreScale(size);
  const int sentence = gpu::SentenceOfSlot<kTile>(shape.queries, slot);
  const SentenceRows s(shape, sentence);
  const int first = gpu::FirstRowOfSlot<kTile>(shape.queries, sentence, slot) +
                    static_cast<int>(threadIdx.x) / kWarp * kMine;
  if (first >= s.queries) return;
  const int mine = min(kMine, s.queries - first);
  const int most = s.Seen(first + mine - 1);  // the last query sees most
  const int my_query = s.query_row + first + MyRow();
  const int seen = MyRow() < mine ? s.Seen(first + MyRow()) : 0;

  Vector<elements> query[kMine], sum[kMine], other;
#pragma unroll
  for (int a = 0; a < kMine; ++a) {
    query[a].Load(HeadOfRow(q, s.query_row + first + a, head, size), size, a < mine);
    sum[a].Clear();
  }
  float top = -INFINITY;
  float total = 0.0f;
  for (int start = 0; start < most; start += kOthers) {
    float shares[kWarp];
#pragma unroll
    for (int b = 0; b < kOthers; ++b) {
      other.Load(HeadOfRow(k, s.key_row + start + b, head, size), size, start + b < most);
#pragma unroll
      for (int a = 0; a < kMine; ++a) shares[a * kOthers + b] = query[a].Dot(other);
    }
    const int key = start + MyOther();
    const float dot = SumForEachLane(shares);
    const float score = key < seen ? gpu::Score(dot, scale) : -INFINITY;
    const float new_top = fmaxf(top, MaxOverOthers(score));
    const float correction = top == -INFINITY ? 0.0f : expf(top - new_top);
    float weight = key < seen ? expf(score - new_top) : 0.0f;
    top = new_top;
    total = total * correction + SumOverOthers(weight);
    weight *= DropoutFactor(dropout, my_query, head, key);
#pragma unroll
    for (int a = 0; a < kMine; ++a) {
      const float factor = __shfl_sync(kAllLanes, correction, a * kOthers);
#pragma unroll
      for (int e = 0; e < elements; ++e) sum[a][e] *= factor;
    }
#pragma unroll
    for (int b = 0; b < kOthers; ++b) {
      other.Load(HeadOfRow(v, s.key_row + start + b, head, size), size, start + b < most);
#pragma unroll
      for (int a = 0; a < kMine; ++a)
        sum[a].MultiplyAdd(__shfl_sync(kAllLanes, weight, a * kOthers + b), other);
    }
  }
  const float inverse = seen > 0 ? 1.0f / total : 0.0f;
#pragma unroll
  for (int a = 0; a < kMine; ++a) {
    const float factor = __shfl_sync(kAllLanes, inverse, a * kOthers);
    if (a < mine) {
      sum[a].Store(HeadOfRow(out, s.query_row + first + a, head, size), size, factor);
    }
  }
  if (MyOther() == 0 && MyRow() < mine) {
    log_sums[head * shape.queries.rows + my_query] = seen > 0 ? top + logf(total) : 0.0f;
  }
}

// dq, and deltas[heads, query rows] = out * dout, which is what a softmax' gradient sums over all
// keys.
template <typename T, int elements>
__global__ void __launch_bounds__(kWarps* kWarp)
    QueryGradient(AttentionShape shape, Dropout dropout, HeadRows<const T> q, HeadRows<const T> k,
                  HeadRows<const T> v, HeadRows<const T> out, const float* log_sums,
                  HeadRows<const T> dout, HeadRows<T> dq, float* deltas) {
  const int slot = blockIdx.x;
  const int head = blockIdx.y;
  const int size = static_cast<int>(shape.head_size);
  const float scale = gpu::ScoreScale(size);
  const int sentence = gpu::SentenceOfSlot<kTile>(shape.queries, slot);
  const SentenceRows s(shape, sentence);
  const int first = gpu::FirstRowOfSlot<kTile>(shape.queries, sentence, slot) +
                    static_cast<int>(threadIdx.x) / kWarp * kMine;
  if (first >= s.queries) return;
  const int mine = min(kMine, s.queries - first);
  const int most = s.Seen(first + mine - 1);
  const int my_query = s.query_row + first + MyRow();
  const int seen = MyRow() < mine ? s.Seen(first + MyRow()) : 0;
  const int64_t statistic = head * shape.queries.rows + my_query;

  Vector<elements> query[kMine], dresult[kMine], sum[kMine], key, value;
  float delta = 0.0f;
#pragma unroll
  for (int a = 0; a < kMine; ++a) {
    const int row = s.query_row + first + a;
    query[a].Load(HeadOfRow(q, row, head, size), size, a < mine);
    dresult[a].Load(HeadOfRow(dout, row, head, size), size, a < mine);
    sum[a].Load(HeadOfRow(out, row, head, size), size, a < mine);
    const float product = WarpSum(sum[a].Dot(dresult[a]));
    if (a == MyRow()) delta = product;
    sum[a].Clear();
  }
  if (MyOther() == 0 && MyRow() < mine) deltas[statistic] = delta;
  const float log_sum = seen > 0 ? log_sums[statistic] : 0.0f;
  for (int start = 0; start < most; start += kOthers) {
    float shares[kWarp], dshares[kWarp];
#pragma unroll
    for (int b = 0; b < kOthers; ++b) {
      const int row = s.key_row + start + b;
      key.Load(HeadOfRow(k, row, head, size), size, start + b < most);
      value.Load(HeadOfRow(v, row, head, size), size, start + b < most);
#pragma unroll
      for (int a = 0; a < kMine; ++a) {
        shares[a * kOthers + b] = query[a].Dot(key);
        dshares[a * kOthers + b] = dresult[a].Dot(value);
      }
    }
    const int j = start + MyOther();
    const float score = gpu::Score(SumForEachLane(shares), scale);
    const float dweight = SumForEachLane(dshares) * DropoutFactor(dropout, my_query, head, j);
    const float dscore = j < seen ? expf(score - log_sum) * (dweight - delta) * scale : 0.0f;
#pragma unroll
    for (int b = 0; b < kOthers; ++b) {
      key.Load(HeadOfRow(k, s.key_row + start + b, head, size), size, start + b < most);
#pragma unroll
      for (int a = 0; a < kMine; ++a)
        sum[a].MultiplyAdd(__shfl_sync(kAllLanes, dscore, a * kOthers + b), key);
    }
  }
#pragma unroll
  for (int a = 0; a < kMine; ++a) {
    if (a < mine) {
      sum[a].Store(HeadOfRow(dq, s.query_row + first + a, head, size), size, 1.0f);
    }
  }
}

template <typename T, int elements>
__global__ void __launch_bounds__(kWarps* kWarp)
    KeyValueGradient(AttentionShape shape, Dropout dropout, HeadRows<const T> q,
                     HeadRows<const T> k, HeadRows<const T> v, const float* log_sums,
                     const float* deltas, HeadRows<const T> dout, HeadRows<T> dk, HeadRows<T> dv) {
  const int slot = blockIdx.x;
  const int head = blockIdx.y;
  const int size = static_cast<int>(shape.head_size);
  const float scale = gpu::ScoreScale(size);
  const int sentence = gpu::SentenceOfSlot<kTile>(shape.keys, slot);
  const SentenceRows s(shape, sentence);
  const int first = gpu::FirstRowOfSlot<kTile>(shape.keys, sentence, slot) +
                    static_cast<int>(threadIdx.x) / kWarp * kMine;
  if (first >= s.key_rows) return;
  const int mine = min(kMine, s.key_rows - first);
  const int my_key = first + MyRow();

  Vector<elements> key[kMine], value[kMine], dkey[kMine], dvalue[kMine], query, dresult;
#pragma unroll
  for (int a = 0; a < kMine; ++a) {
    const int row = s.key_row + first + a;
    key[a].Load(HeadOfRow(k, row, head, size), size, first + a < s.keys);
    value[a].Load(HeadOfRow(v, row, head, size), size, first + a < s.keys);
    dkey[a].Clear();
    dvalue[a].Clear();
  }
  const int begin = first < s.keys ? s.FirstSeeing(first) : s.queries;
  for (int start = begin; start < s.queries; start += kOthers) {
    float shares[kWarp], dshares[kWarp];
#pragma unroll
    for (int b = 0; b < kOthers; ++b) {
      const int row = s.query_row + start + b;
      query.Load(HeadOfRow(q, row, head, size), size, start + b < s.queries);
      dresult.Load(HeadOfRow(dout, row, head, size), size, start + b < s.queries);
#pragma unroll
      for (int a = 0; a < kMine; ++a) {
        shares[a * kOthers + b] = key[a].Dot(query);
        dshares[a * kOthers + b] = value[a].Dot(dresult);
      }
    }
    const int i = start + MyOther();
    const bool sees = i < s.queries && my_key < s.Seen(i);
    const int64_t statistic = head * shape.queries.rows + s.query_row + i;
    const float score = gpu::Score(SumForEachLane(shares), scale);
    const float factor = DropoutFactor(dropout, s.query_row + i, head, my_key);
    const float dweight = SumForEachLane(dshares) * factor;
    const float weight = sees ? expf(score - log_sums[statistic]) : 0.0f;
    const float dscore = sees ? weight * (dweight - deltas[statistic]) * scale : 0.0f;
    const float dropped = weight * factor;
#pragma unroll
    for (int b = 0; b < kOthers; ++b) {
      const int row = s.query_row + start + b;
      query.Load(HeadOfRow(q, row, head, size), size, start + b < s.queries);
      dresult.Load(HeadOfRow(dout, row, head, size), size, start + b < s.queries);
#pragma unroll
      for (int a = 0; a < kMine; ++a) {
        dkey[a].MultiplyAdd(__shfl_sync(kAllLanes, dscore, a * kOthers + b), query);
        dvalue[a].MultiplyAdd(__shfl_sync(kAllLanes, dropped, a * kOthers + b), dresult);
      }
    }
  }
#pragma unroll
  for (int a = 0; a < kMine; ++a) {
    if (a < mine) {
      dkey[a].Store(HeadOfRow(dk, s.key_row + first + a, head, size), size, 1.0f);
      dvalue[a].Store(HeadOfRow(dv, s.key_row + first + a, head, size), size, 1.0f);
    }
  }
}

// Calls function(std::integral_constant) with enough numbers a lane for a vector of head_size.
template <typename Function>
void ForElements(int64_t head_size, const Function& function) {
  if (head_size <= 2 * kWarp) {
    function(std::integral_constant<int, 2>());
  } else if (head_size <= 8 * kWarp) {
    function(std::integral_constant<int, 8>());
  } else {
    throw std::invalid_argument("on the GPU heads have at most 256 numbers, got " +
                                std::to_string(head_size));
  }
}

dim3 Grid(const AttentionShape& shape, const Sentences& sentences) {
  return dim3(gpu::TileSlots<kTile>(sentences), static_cast<unsigned>(shape.heads));
}

}  // namespace

template <typename T>
void PlainAttention(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                    HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
                    float* log_sums) {
  ForElements(shape.head_size, [&](auto elements) {
    Forward<T, elements><<<Grid(shape, shape.queries), kWarps * kWarp, 0, gpu.stream>>>(
        shape, dropout, q, k, v, {out, shape.hidden_size()}, log_sums);
  });
  gpu::CheckLaunch();
}

template <typename T>
void PlainAttentionGradient(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                            HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                            const T* out, const float* log_sums, const T* dout, HeadRows<T> dq,
                            HeadRows<T> dk, HeadRows<T> dv) {
  const ArenaScope scope(gpu.arena);
  const int64_t n = shape.hidden_size();
  float* const deltas = gpu.arena->Allocate<float>(shape.heads * shape.queries.rows);
  ForElements(shape.head_size, [&](auto elements) {
    QueryGradient<T, elements><<<Grid(shape, shape.queries), kWarps * kWarp, 0, gpu.stream>>>(
        shape, dropout, q, k, v, {out, n}, log_sums, {dout, n}, dq, deltas);
    KeyValueGradient<T, elements><<<Grid(shape, shape.keys), kWarps * kWarp, 0, gpu.stream>>>(
        shape, dropout, q, k, v, log_sums, deltas, {dout, n}, dk, dv);
  });
  gpu::CheckLaunch();
}

template void PlainAttention(const Gpu&, const AttentionShape&, const Dropout&,
                             HeadRows<const float>, HeadRows<const float>, HeadRows<const float>,
                             float*, float*);
template void PlainAttention(const Gpu&, const AttentionShape&, const Dropout&,
                             HeadRows<const float16>, HeadRows<const float16>,
                             HeadRows<const float16>, float16*, float*);
template void PlainAttention(const Gpu&, const AttentionShape&, const Dropout&,
                             HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                             HeadRows<const bfloat16>, bfloat16*, float*);
template void PlainAttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                     HeadRows<const float>, HeadRows<const float>,
                                     HeadRows<const float>, const float*, const float*,
                                     const float*, HeadRows<float>, HeadRows<float>,
                                     HeadRows<float>);
template void PlainAttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                     HeadRows<const float16>, HeadRows<const float16>,
                                     HeadRows<const float16>, const float16*, const float*,
                                     const float16*, HeadRows<float16>, HeadRows<float16>,
                                     HeadRows<float16>);
template void PlainAttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                     HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                                     HeadRows<const bfloat16>, const bfloat16*, const float*,
                                     const bfloat16*, HeadRows<bfloat16>, HeadRows<bfloat16>,
                                     HeadRows<bfloat16>);

}  // namespace tf_ls
