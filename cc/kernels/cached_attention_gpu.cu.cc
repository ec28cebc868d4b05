#include <cfloat>
#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "cc/kernels/cached_attention.h"
#include "cc/kernels/gpu_chunk.cu.h"

namespace tf_ls {
namespace {

using gpu::kAllLanes;
using gpu::kWarp;

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
// From so many rows and heads on a warp takes one alone: all of them keep the GPU busy.
constexpr int64_t kManyHeads = 1024;
// Numbers of a key or value that a lane holds: whole 16-byte accesses for every type.
constexpr int kCount = 8;
// Positions of a lane that are read at the same time.
constexpr int kUnroll = 4;

// A softmax of scores so far and the sum of values that it weighs: a lane's part of the vectors.
struct WeightedSum {
  float top = -FLT_MAX;  // finite, so that a score of minus infinity is below it
  float total = 0.0f;
  float values[kCount] = {};

  // Weights that were relative to `top` become relative to a larger one.
  __device__ void Raise(float new_top) {
    const float factor = expf(top - new_top);
    top = new_top;
    total *= factor;
#pragma unroll
    for (float& value : values) value *= factor;
  }

  __device__ void Add(float weight, const float (&value)[kCount]) {
    total += weight;
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] += weight * value[i];
  }

  // Adds what lanes `offset` away have.
  __device__ void AddLane(int offset) {
    Raise(fmaxf(top, __shfl_xor_sync(kAllLanes, top, offset)));
    total += __shfl_xor_sync(kAllLanes, total, offset);
#pragma unroll
    for (float& value : values) value += __shfl_xor_sync(kAllLanes, value, offset);
  }
};

// The warps of a block that look at one row and head together, 1 or all of them.
template <int warps>
struct Team {
  static constexpr int kSize = warps * kWarp;
  static constexpr int kOfBlock = kWarps / warps;

  __device__ static int Index() { return static_cast<int>(threadIdx.x) / kSize; }
  __device__ static int Member() { return static_cast<int>(threadIdx.x) % kSize; }
  // What members have written is there for all of them.
  __device__ static void Wait() {
    if constexpr (warps == 1) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
};

// The sum over `lanes` neighbouring lanes, which all get it.
template <int lanes>
__device__ float SumOverLanes(float x) {
#pragma unroll
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}

// What self-attention writes before it reads.
template <typename T>
struct NewPositions {
  HeadRows<const T> k, v;
  HeadSlots<T> keys, values;

  template <typename Team>
  __device__ void Store(const BeamPaths& paths, int64_t row, int64_t head, int size) const {
    const int64_t last = paths.Length(row) - 1;
    const int64_t slot = paths.Slot(row, last);
    for (int i = Team::Member(); i < size; i += Team::kSize) {
      keys.At(slot, head, last)[i] = k.data[row * k.stride + head * size + i];
      values.At(slot, head, last)[i] = v.data[row * v.stride + head * size + i];
    }
    Team::Wait();
  }
};
struct NothingNew {
  template <typename Team>
  __device__ void Store(const SentenceMemory&, int64_t, int64_t, int) const {}
};

// What the weights of a row and head are made of, if anybody wants to know them.
struct Softmaxes {
  float* scores = nullptr;      // [rows, heads, length]
  float2* top_total = nullptr;  // [rows, heads]: the largest score, the sum of exp(score - largest)
  int64_t length = 0;
};

// Merges the sums of a block's warps, whose members have `lanes` * kCount values together, and
// calls write(i, value, top, total) for each value i < size.
template <int lanes, typename Write>
__device__ void MergeWarps(const WeightedSum& sum, int column, int size, const Write& write) {
  __shared__ float tops[kWarps], totals[kWarps], sums[kWarps][lanes * kCount];
  const int warp = threadIdx.x / kWarp;
  if (threadIdx.x % kWarp < lanes) {
    tops[warp] = sum.top;
    totals[warp] = sum.total;
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[warp][column + i] = sum.values[i];
  }
  __syncthreads();
  float top = tops[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) top = fmaxf(top, tops[w]);
  for (int i = threadIdx.x; i < size; i += kThreads) {
    float total = 0.0f;
    float value = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float factor = expf(tops[w] - top);
      total += totals[w] * factor;
      value += sums[w][i] * factor;
    }
    write(i, value, top, total);
  }
}

// `warps` of a block for each row and head; those of a block are neighbouring rows, which often
// read the same. A group of `lanes` lanes holds a vector, groups take positions in turn, each with
// a softmax of its own, and these are merged in the end. A row and head whose path is long is not
// cut into several blocks: 1024 positions of 64 half-precision numbers are 256 KB.
template <typename T, bool packed, int lanes, int warps, typename Paths, typename New>
__global__ void __launch_bounds__(kThreads)
    Attend(const Paths paths, const New fresh, const int64_t rows, const HeadRows<const T> q,
           const HeadSlots<const T> keys, const HeadSlots<const T> values, const int size,
           const float scale, const HeadRows<T> out, const Softmaxes softmaxes) {
  using Team = Team<warps>;
  using Chunk = gpu::Chunk<T, packed, kCount>;
  constexpr int kGroups = Team::kSize / lanes;
  const int64_t row = blockIdx.x * int64_t{Team::kOfBlock} + Team::Index();
  if (row >= rows) return;  // a whole team, and with it whole warps
  const int64_t head = blockIdx.y;
  const int64_t softmax = row * gridDim.y + head;
  const int group = Team::Member() / lanes;
  const int column = Team::Member() % lanes * kCount;
  const int length = static_cast<int>(paths.Length(row));
  fresh.template Store<Team>(paths, row, head, size);

  const auto load = [&](const T* from, bool there, Chunk* to) {
    if (there && column < size) {
      to->Load(from, column, size);
    } else {
#pragma unroll
      for (float& value : to->values) value = 0.0f;
    }
  };
  Chunk query;
  load(q.data + row * q.stride + head * size, true, &query);
#pragma unroll
  for (float& value : query.values) value *= scale;

  WeightedSum sum;
  for (int start = 0; start < length; start += kUnroll * kGroups) {
    Chunk key[kUnroll], value[kUnroll];
    bool there[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int position = start + u * kGroups + group;
      there[u] = position < length;
      const int64_t slot = there[u] ? paths.Slot(row, position) : 0;
      load(keys.At(slot, head, position), there[u], &key[u]);
      load(values.At(slot, head, position), there[u], &value[u]);
    }
    float scores[kUnroll];
    float top = sum.top;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float share = 0.0f;
#pragma unroll
      for (int i = 0; i < kCount; ++i) share += query.values[i] * key[u].values[i];
      const float score = SumOverLanes<lanes>(share);
      scores[u] = there[u] ? score : -INFINITY;
      top = fmaxf(top, scores[u]);
      if (softmaxes.scores != nullptr && column == 0 && there[u]) {
        softmaxes.scores[softmax * softmaxes.length + start + u * kGroups + group] = score;
      }
    }
    sum.Raise(top);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) sum.Add(expf(scores[u] - top), value[u].values);
  }

#pragma unroll
  for (int offset = lanes; offset < kWarp; offset *= 2) sum.AddLane(offset);
  T* const result = out.data + row * out.stride + head * size;
  const auto note_softmax = [&](float top, float total) {
    if (softmaxes.scores != nullptr) softmaxes.top_total[softmax] = make_float2(top, total);
  };
  if constexpr (warps > 1) {
    MergeWarps<lanes>(sum, column, size, [&](int i, float value, float top, float total) {
      result[i] = gpu::Narrow<T>(length > 0 ? value / total : 0.0f);
      if (i == 0) note_softmax(top, total);
    });
  } else if (group == 0 && column < size) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (column + i < size) {
        result[column + i] = gpu::Narrow<T>(length > 0 ? sum.values[i] / sum.total : 0.0f);
      }
    }
    if (column == 0) note_softmax(sum.top, sum.total);
  }
}

// A block for each row.
__global__ void __launch_bounds__(kThreads)
    AverageOverHeads(const SentenceMemory memory, const Softmaxes softmaxes, const int heads,
                     float* mean) {
  const int64_t row = blockIdx.x;
  const int64_t seen = memory.Length(row);
  for (int64_t i = threadIdx.x; i < softmaxes.length; i += kThreads) {
    float sum = 0.0f;
    for (int64_t softmax = row * heads; i < seen && softmax < (row + 1) * heads; ++softmax) {
      const float2 top_total = softmaxes.top_total[softmax];
      sum += expf(softmaxes.scores[softmax * softmaxes.length + i] - top_total.x) / top_total.y;
    }
    mean[row * softmaxes.length + i] = sum / static_cast<float>(heads);
  }
}

// A block for each row.
__global__ void __launch_bounds__(kThreads)
    Extend(const BeamPaths old, const int32_t* parents, const int32_t* slots, int32_t* new_slots,
           int32_t* new_lengths) {
  const int64_t row = blockIdx.x;
  const int64_t parent = parents[row];
  const int length = old.lengths[parent];
  int32_t* const path = new_slots + row * old.max_length;
  for (int i = threadIdx.x; i < length; i += kThreads) {
    path[i] = old.slots[parent * old.max_length + i];
  }
  if (threadIdx.x == 0) {
    path[length] = slots[row];
    new_lengths[row] = length + 1;
  }
}

// Calls function(std::integral_constant) with the number of lanes that hold a vector.
template <typename Function>
void ForLanes(int64_t head_size, const Function& function) {
  if (head_size <= 8 * kCount) {
    function(std::integral_constant<int, 8>());
  } else if (head_size <= 16 * kCount) {
    function(std::integral_constant<int, 16>());
  } else if (head_size <= 32 * kCount) {
    function(std::integral_constant<int, 32>());
  } else {
    throw std::invalid_argument("on the GPU heads have at most 256 numbers, got " +
                                std::to_string(head_size));
  }
}

template <typename T, typename Paths, typename New>
void Run(const Gpu& gpu, const CachedAttentionShape& shape, const Paths& paths, const New& fresh,
         HeadRows<const T> q, HeadSlots<const T> keys, HeadSlots<const T> values, T* out,
         const Softmaxes& softmaxes = {}) {
  if (shape.rows == 0 || shape.hidden_size() == 0) return;
  const auto whole = [](HeadSlots<const T> slots) {
    return (slots.slot_stride | slots.head_stride | slots.position_stride) % kCount == 0;
  };
  const bool packed = gpu::CanPack<T, kCount>(shape.head_size, q.data, keys.data, values.data) &&
                      q.stride % kCount == 0 && whole(keys) && whole(values);
  const int size = static_cast<int>(shape.head_size);
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  const auto run = [&](auto lanes, auto packs, auto warps) {
    const auto teams = Team<decltype(warps)::value>::kOfBlock;
    const dim3 grid(gpu::Blocks(shape.rows, teams), static_cast<unsigned>(shape.heads));
    Attend<T, decltype(packs)::value, decltype(lanes)::value, decltype(warps)::value>
        <<<grid, kThreads, 0, gpu.stream>>>(paths, fresh, shape.rows, q, keys, values, size, scale,
                                            {out, shape.hidden_size()}, softmaxes);
  };
  const auto run_packed = [&](auto lanes, auto packs) {
    shape.rows* shape.heads < kManyHeads ? run(lanes, packs, std::integral_constant<int, kWarps>())
                                         : run(lanes, packs, std::integral_constant<int, 1>());
  };
  ForLanes(shape.head_size, [&](auto lanes) {
    packed ? run_packed(lanes, std::true_type()) : run_packed(lanes, std::false_type());
  });
  gpu::CheckLaunch();
}

}  // namespace

void ExtendPaths(const Gpu& gpu, const BeamPaths& old, const int32_t* parents, const int32_t* slots,
                 int64_t rows, int32_t* new_slots, int32_t* new_lengths) {
  if (rows == 0) return;
  Extend<<<static_cast<unsigned>(rows), kThreads, 0, gpu.stream>>>(old, parents, slots, new_slots,
                                                                   new_lengths);
  gpu::CheckLaunch();
}

// Reads 2 * hidden_size * sizeof(T) + 4 * heads bytes a position of each row.
template <typename T>
void CachedSelfAttention(const Gpu& gpu, const CachedAttentionShape& shape, const BeamPaths& paths,
                         HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                         HeadSlots<T> keys, HeadSlots<T> values, T* out) {
  Run<T>(gpu, shape, paths, NewPositions<T>{k, v, keys, values}, q, keys.ToRead(), values.ToRead(),
         out);
}

// Reads 2 * hidden_size * sizeof(T) bytes a position of each row.
template <typename T>
void CachedCrossAttention(const Gpu& gpu, const CachedAttentionShape& shape,
                          const SentenceMemory& memory, HeadRows<const T> q,
                          HeadSlots<const T> keys, HeadSlots<const T> values, T* out,
                          const MeanWeights& mean_weights) {
  if (mean_weights.data == nullptr) {
    return Run<T>(gpu, shape, memory, NothingNew(), q, keys, values, out);
  }
  const ArenaScope scope(gpu.arena);
  const int64_t count = shape.rows * shape.heads;
  const Softmaxes softmaxes = {gpu.arena->Allocate<float>(count * mean_weights.length),
                               gpu.arena->Allocate<float2>(count), mean_weights.length};
  Run<T>(gpu, shape, memory, NothingNew(), q, keys, values, out, softmaxes);
  if (shape.rows == 0 || mean_weights.length == 0) return;
  AverageOverHeads<<<static_cast<unsigned>(shape.rows), kThreads, 0, gpu.stream>>>(
      memory, softmaxes, static_cast<int>(shape.heads), mean_weights.data);
  gpu::CheckLaunch();
}

template void CachedSelfAttention(const Gpu&, const CachedAttentionShape&, const BeamPaths&,
                                  HeadRows<const float>, HeadRows<const float>,
                                  HeadRows<const float>, HeadSlots<float>, HeadSlots<float>,
                                  float*);
template void CachedSelfAttention(const Gpu&, const CachedAttentionShape&, const BeamPaths&,
                                  HeadRows<const float16>, HeadRows<const float16>,
                                  HeadRows<const float16>, HeadSlots<float16>, HeadSlots<float16>,
                                  float16*);
template void CachedSelfAttention(const Gpu&, const CachedAttentionShape&, const BeamPaths&,
                                  HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                                  HeadRows<const bfloat16>, HeadSlots<bfloat16>,
                                  HeadSlots<bfloat16>, bfloat16*);
template void CachedCrossAttention(const Gpu&, const CachedAttentionShape&, const SentenceMemory&,
                                   HeadRows<const float>, HeadSlots<const float>,
                                   HeadSlots<const float>, float*, const MeanWeights&);
template void CachedCrossAttention(const Gpu&, const CachedAttentionShape&, const SentenceMemory&,
                                   HeadRows<const float16>, HeadSlots<const float16>,
                                   HeadSlots<const float16>, float16*, const MeanWeights&);
template void CachedCrossAttention(const Gpu&, const CachedAttentionShape&, const SentenceMemory&,
                                   HeadRows<const bfloat16>, HeadSlots<const bfloat16>,
                                   HeadSlots<const bfloat16>, bfloat16*, const MeanWeights&);

}  // namespace tf_ls
