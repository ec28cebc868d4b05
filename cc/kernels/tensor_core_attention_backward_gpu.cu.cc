#include <cmath>
#include <type_traits>

#include "cc/kernels/gpu_attention_tile.cu.h"
#include "cc/kernels/tensor_core_attention.h"

namespace tf_ls {
namespace {

using gpu::HeadOfRow;
using gpu::kAllLanes;
using gpu::kChunk;
using gpu::kWarp;
using gpu::LeftFragment;
using gpu::ResultFragment;
using gpu::RightFragment;
using gpu::SentenceRows;
using gpu::SharedMatrix;

// A warp has 16 keys of a tile, whose gradients it keeps in registers while tiles of queries pass.
// Its keys and values stay in registers beside the gradients, too, if `keep`.
template <int width, int warps, int blocks, bool keep = (width <= 64)>
struct TileShape {
  static constexpr int kBlocks = blocks;
  static constexpr int kWidth = width;  // of heads, filled up
  static constexpr int kThreads = warps * kWarp;
  static constexpr int kKeys = 16 * warps;
  static constexpr int kQueries = warps < 4 ? 16 * warps : 64;
  // Warps that share a tile's query gradients of 16 rows, and how many numbers each of them has.
  static constexpr int kColumnParts = kKeys / kQueries;
  static_assert(width % (16 * kColumnParts) == 0, "whole fragments");
  static constexpr int kColumns = width / kColumnParts;
  // Two stages of queries where they fit: one is worked on while the other is copied.
  static constexpr int kStages = width > 64 ? 1 : 2;
  static constexpr bool kKeep = keep;
  template <typename T>
  static constexpr int kSharedBytes =
      SharedMatrix<T, width>::Bytes(2 * kKeys + 2 * kStages * kQueries) +
      SharedMatrix<T, kQueries>::Bytes(kKeys) + kStages * 2 * kQueries * sizeof(float);
};

// What the backward pass takes and gives beside the shape.
template <typename T>
struct Gradients {
  HeadRows<const T> q, k, v, out;
  const float* log_sums;
  HeadRows<const T> dout;
  HeadRows<T> dq, dk, dv;
  Philox::RoundKeys round_keys;
  float* deltas;  // [heads, query rows]: out * dout, what a softmax' gradient sums over all keys
  HeadRows<float> partial;  // dq, as long as tiles of keys are to come
};

// Writes zeros to rows [first, first + rows) of one head.
template <typename T, typename Shape>
__device__ void ClearHead(HeadRows<T> to, int64_t first, int rows, int head, int size) {
  constexpr unsigned kChunks = Shape::kWidth / kChunk;
#pragma unroll 1
  for (unsigned i = threadIdx.x; i < rows * kChunks; i += Shape::kThreads) {
    const int column = static_cast<int>(i % kChunks) * kChunk;
    if (column >= size) continue;
    *reinterpret_cast<uint4*>(HeadOfRow(to, first + i / kChunks, head, size) + column) =
        uint4{0, 0, 0, 0};
  }
}

template <typename T, typename Shape>
__device__ void ComputeDeltas(const AttentionShape& shape, const Gradients<T>& g,
                              const SentenceRows& s, int head, int size) {
  constexpr unsigned kChunks = Shape::kWidth / kChunk;  // lanes that share a row
  const int column = threadIdx.x % kChunks * kChunk;
  const int row = threadIdx.x / kChunks;
  for (int start = 0; start < s.queries; start += Shape::kThreads / kChunks) {
    const int i = start + row;
    float delta = 0.0f;
    if (i < s.queries && column < size) {
      float out[kChunk], dout[kChunk];
      gpu::LoadPack<kChunk>(HeadOfRow(g.out, s.query_row + i, head, size) + column, out);
      gpu::LoadPack<kChunk>(HeadOfRow(g.dout, s.query_row + i, head, size) + column, dout);
#pragma unroll
      for (int e = 0; e < kChunk; ++e) delta += out[e] * dout[e];
    }
#pragma unroll
    for (unsigned offset = kChunks / 2; offset > 0; offset /= 2)
      delta += __shfl_xor_sync(kAllLanes, delta, offset);
    if (column == 0 && i < s.queries) {
      g.deltas[head * shape.queries.rows + s.query_row + i] = delta;
    }
  }
}

// For 16 keys of a warp and a tile of queries: which weights dropout keeps. Lane 4 * g + t has the
// keys g and g + 8; of each 16 queries 2 * t, 2 * t + 1, 2 * t + 8, 2 * t + 9. Philox makes four
// neighbouring keys' numbers at once: each of the four lanes that have them does so for one of the
// four queries, and they exchange what they find.
template <int queries>
class KeptWeights {
 public:
  static_assert(queries <= 64, "a bit for each of a lane's weights of one query in four");

  __device__ void Find(const Dropout& dropout, const Philox::RoundKeys& round_keys,
                       int first_query_row, int head, int first_key) {
    const int lane = threadIdx.x % kWarp;
    const int mine = lane / 4 % 4;
    uint32_t found = 0;
#pragma unroll
    for (int group = 0; group < queries / 16; ++group) {
      const int row = first_query_row + 16 * group + mine / 2 * 8 + lane % 4 * 2 + mine % 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t words[4] = {static_cast<uint32_t>(first_key / 4 + 2 * half + lane / 16),
                             static_cast<uint32_t>(row), static_cast<uint32_t>(head),
                             static_cast<uint32_t>(dropout.site)};
        Philox::Generate(round_keys, words);
#pragma unroll
        for (int word = 0; word < 4; ++word) {
          if (words[word] >= dropout.threshold()) found |= 1u << (8 * group + 4 * half + word);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bits_[i] = __shfl_sync(kAllLanes, found, (lane & ~12) | (i << 2)) >> mine;
    }
  }

  // Of the lane's key of this half, and its query number i (0 to 3) of this group of 16.
  __device__ bool Kept(int group, int half, int i) const {
    return (bits_[i] >> (8 * group + 4 * half) & 1u) != 0;
  }
  // Makes this many groups less the first ones.
  __device__ void Pass(int groups) {
#pragma unroll
    for (uint32_t& bits : bits_) bits >>= 8 * groups;
  }

 private:
  uint32_t bits_[4];
};

template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    Backward(AttentionShape shape, Dropout dropout, Gradients<T> g) {
  constexpr int kKeys = Shape::kKeys;
  constexpr int kQueries = Shape::kQueries;
  constexpr int kSteps = Shape::kWidth / 16;
  constexpr int kGroups = 2;  // of 16 queries that a warp works on at once
  extern __shared__ __align__(16) unsigned char memory[];
  using Matrix = SharedMatrix<T, Shape::kWidth>;
  const Matrix keys{reinterpret_cast<T*>(memory)};
  const Matrix values{keys.At(kKeys, 0)};
  const Matrix stages{values.At(kKeys, 0)};
  const SharedMatrix<T, kQueries> dscores{stages.At(2 * Shape::kStages * kQueries, 0)};
  float* const statistics = reinterpret_cast<float*>(dscores.At(kKeys, 0));

  const int sentence = blockIdx.x;
  const int head = blockIdx.y;
  const int size = static_cast<int>(shape.head_size);
  const float scale = gpu::ScoreScale(size);
  const SentenceRows s(shape, sentence);
  const int visible = s.queries > 0 ? s.Seen(s.queries - 1) : 0;  // the last query sees most
  if (visible == 0) {
    ClearHead<T, Shape>(g.dq, s.query_row, s.queries, head, size);
    ClearHead<T, Shape>(g.dk, s.key_row, s.key_rows, head, size);
    ClearHead<T, Shape>(g.dv, s.key_row, s.key_rows, head, size);
    return;
  }

  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  using KeyCopy = gpu::HeadCopy<kKeys, Shape::kThreads, T, Shape::kWidth>;
  using QueryCopy = gpu::HeadCopy<kQueries, Shape::kThreads, T, Shape::kWidth>;
  const KeyCopy copy_keys(g.k, s.key_row, head, size), copy_values(g.v, s.key_row, head, size);
  const QueryCopy copy_queries(g.q, s.query_row, head, size);
  const QueryCopy copy_douts(g.dout, s.query_row, head, size);
  const auto start_keys = [&](int start) {
    copy_keys.Start(start, visible, keys);
    copy_values.Start(start, visible, values);
  };
  const auto start_queries = [&](int stage, int start) {
    const Matrix to{stages.At(stage * 2 * kQueries, 0)};
    copy_queries.Start(start, s.queries, to);
    copy_douts.Start(start, s.queries, Matrix{to.At(kQueries, 0)});
  };
  // The gradients' common factor is left out until the end. With dropout it has the factor of kept
  // weights too, by which deltas are divided for that.
  const float kept = dropout.active() ? dropout.scale() : 1.0f;
  const float inverse_kept = dropout.active() ? 1.0f - dropout.rate : 1.0f;
  // The queries' log-sums and deltas, which are zero behind the sentence's end.
  const auto copy_statistics = [&](int stage, int start) {
    static_assert(kQueries <= Shape::kThreads, "one query a thread");
    const int i = threadIdx.x;
    if (i >= kQueries) return;
    const bool exists = start + i < s.queries;
    const int64_t at = head * shape.queries.rows + s.query_row + start + i;
    float* const to = statistics + stage * 2 * kQueries;
    to[i] = exists ? g.log_sums[at] : 0.0f;
    to[kQueries + i] = exists ? g.deltas[at] * inverse_kept : 0.0f;
  };

  start_keys(0);
  start_queries(0, 0);
  ComputeDeltas<T, Shape>(shape, g, s, head, size);
  __syncthreads();
  copy_statistics(0, 0);
  gpu::FinishCopies();
  __syncthreads();

  int stage = 0;
  for (int key_start = 0; key_start < visible; key_start += kKeys) {
    const int first_query = key_start == 0 ? 0 : s.FirstSeeing(key_start) / kQueries * kQueries;
    if (key_start > 0) {
      start_keys(key_start);
      start_queries(stage, first_query);
      copy_statistics(stage, first_query);
      gpu::FinishCopies();
      __syncthreads();
    }
    const int key_groups = (min(kKeys, visible - key_start) + 15) / 16;  // of 16 keys
    const int warp_key = key_start + 16 * warp;
    LeftFragment key_kept[Shape::kKeep ? kSteps : 1], value_kept[Shape::kKeep ? kSteps : 1];
    if constexpr (Shape::kKeep) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        key_kept[step] = keys.Left(16 * warp, 16 * step);
        value_kept[step] = values.Left(16 * warp, 16 * step);
      }
    }
    ResultFragment dkey[2 * kSteps], dvalue[2 * kSteps];
#pragma unroll
    for (int i = 0; i < 2 * kSteps; ++i) {
      dkey[i].Clear();
      dvalue[i].Clear();
    }

    for (int start = first_query; start < s.queries; start += kQueries) {
      const int next = (stage + 1) % Shape::kStages;
      if (Shape::kStages > 1 && start + kQueries < s.queries) {
        start_queries(next, start + kQueries);
        copy_statistics(next, start + kQueries);
      }
      const Matrix queries{stages.At(stage * 2 * kQueries, 0)};
      const Matrix douts{queries.At(kQueries, 0)};
      const float* const log_sums = statistics + stage * 2 * kQueries;
      const float* const deltas = log_sums + kQueries;
      const int query_groups = (min(kQueries, s.queries - start) + 15) / 16;

      if (warp < key_groups) {
        KeptWeights<kQueries> mask;
        if (dropout.active()) {
          mask.Find(dropout, g.round_keys, s.query_row + start, head, warp_key);
        }
        for (int block = 0; block < query_groups; block += kGroups) {
          // Transposed: keys down, queries across.
          ResultFragment score[2 * kGroups], dweight[2 * kGroups];
#pragma unroll
          for (int i = 0; i < 2 * kGroups; ++i) {
            score[i].Clear();
            dweight[i].Clear();
          }
#pragma unroll
          for (int step = 0; step < kSteps; ++step) {
            RightFragment right[2];
            LeftFragment key, value;
            if constexpr (Shape::kKeep) {
              key = key_kept[step];
              value = value_kept[step];
            } else {
              key = keys.Left(16 * warp, 16 * step);
              value = values.Left(16 * warp, 16 * step);
            }
#pragma unroll
            for (int group = 0; group < kGroups; ++group) {
              queries.RightTransposed(16 * (block + group), 16 * step, right);
              gpu::MultiplyAdd(T(), key, right[0], &score[2 * group]);
              gpu::MultiplyAdd(T(), key, right[1], &score[2 * group + 1]);
              douts.RightTransposed(16 * (block + group), 16 * step, right);
              gpu::MultiplyAdd(T(), value, right[0], &dweight[2 * group]);
              gpu::MultiplyAdd(T(), value, right[1], &dweight[2 * group + 1]);
            }
          }
          // Replaces scores by weights after dropout, weights' gradients by scores' gradients.
          const auto weigh = [&](auto may_be_unseen, auto drops) {
#pragma unroll
            for (int i = 0; i < 4 * kGroups; ++i) {  // this lane's queries
              const int query = 16 * block + i / 2 * 8 + lane % 4 * 2 + i % 2;
              const int seen = s.Seen(start + query) - warp_key - lane / 4;
              const float log_sum = log_sums[query];
              const float delta = deltas[query];
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                float& x = score[i / 2].values[2 * half + i % 2];
                float& dx = dweight[i / 2].values[2 * half + i % 2];
                const float weight = __expf(gpu::Score(x, scale) - log_sum);
                const bool dropped = decltype(drops)::value && !mask.Kept(i / 4, half, i % 4);
                x = dropped ? 0.0f : weight;
                dx = weight * ((dropped ? 0.0f : dx) - delta);
                if (decltype(may_be_unseen)::value && 8 * half >= seen) x = dx = 0.0f;
              }
            }
          };
          constexpr std::true_type kYes;
          constexpr std::false_type kNo;
          // The first query sees least.
          if (warp_key + 16 <= s.Seen(start + 16 * block)) {
            dropout.active() ? weigh(kNo, kYes) : weigh(kNo, kNo);
          } else {
            dropout.active() ? weigh(kYes, kYes) : weigh(kYes, kNo);
          }
          mask.Pass(kGroups);
#pragma unroll
          for (int group = 0; group < kGroups; ++group) {
            LeftFragment dropped, dscore;
#pragma unroll
            for (int part = 0; part < 4; ++part) {
              const float* const pair = &score[2 * group + part / 2].values[part % 2 * 2];
              const float* const dpair = &dweight[2 * group + part / 2].values[part % 2 * 2];
              dropped.pairs[part] = gpu::NarrowPair<T>(pair[0], pair[1]);
              dscore.pairs[part] = gpu::NarrowPair<T>(dpair[0], dpair[1]);
              *reinterpret_cast<uint32_t*>(dscores.At(
                  16 * warp + part % 2 * 8 + lane / 4,
                  16 * (block + group) + part / 2 * 8 + lane % 4 * 2)) = dscore.pairs[part];
            }
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
              RightFragment right[2];
              douts.Right(16 * (block + group), 16 * step, right);
              gpu::MultiplyAdd(T(), dropped, right[0], &dvalue[2 * step]);
              gpu::MultiplyAdd(T(), dropped, right[1], &dvalue[2 * step + 1]);
              queries.Right(16 * (block + group), 16 * step, right);
              gpu::MultiplyAdd(T(), dscore, right[0], &dkey[2 * step]);
              gpu::MultiplyAdd(T(), dscore, right[1], &dkey[2 * step + 1]);
            }
          }
        }
      }

      // The queries' gradients need the scores' of all warps.
      const int group = warp / Shape::kColumnParts;
      const int column = warp % Shape::kColumnParts * Shape::kColumns;
      const int first = start + 16 * group;
      // Calls function(sum, number) with the two numbers of dq that each number of this warp's part
      // of it is added to.
      ResultFragment dquery[Shape::kColumns / 8];
      const auto each_partial = [&](const auto& function) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = first + 8 * half + lane / 4;
          if (row >= s.queries) continue;
          float* const partial = HeadOfRow(g.partial, s.query_row + row, head, size);
#pragma unroll
          for (int i = 0; i < Shape::kColumns / 8; ++i) {
            const int number = column + 8 * i + lane % 4 * 2;
            if (number >= size) continue;
            function(reinterpret_cast<float2*>(partial + number), &dquery[i].values[2 * half]);
          }
        }
      };
#pragma unroll
      for (int i = 0; i < Shape::kColumns / 8; ++i) dquery[i].Clear();
      if (key_start > 0) {
        each_partial([](const float2* sum, float* mine) {
          const float2 before = *sum;
          mine[0] = before.x;
          mine[1] = before.y;
        });
      }
      __syncthreads();
      if (group < query_groups) {
        for (int i = 0; i < key_groups; ++i) {
          const LeftFragment left = dscores.LeftTransposed(16 * i, 16 * group);
#pragma unroll
          for (int step = 0; step < Shape::kColumns / 16; ++step) {
            RightFragment right[2];
            keys.Right(16 * i, column + 16 * step, right);
            gpu::MultiplyAdd(T(), left, right[0], &dquery[2 * step]);
            gpu::MultiplyAdd(T(), left, right[1], &dquery[2 * step + 1]);
          }
        }
        // Later tiles of keys add to it, if any of the tile's queries sees them.
        const bool last = s.Seen(min(start + kQueries, s.queries) - 1) <= key_start + kKeys;
        if (!last) {
          each_partial([](float2* sum, const float* mine) { *sum = float2{mine[0], mine[1]}; });
        } else {
          const float factors[2] = {kept * scale, kept * scale};
          // All warps are done with these queries.
          gpu::StoreFragments(dquery, factors, queries, 16 * group, g.dq, s.query_row + first,
                              s.queries - first, head, size, column);
        }
      }
      if (Shape::kStages == 1 && start + kQueries < s.queries) {
        __syncthreads();
        start_queries(next, start + kQueries);
        copy_statistics(next, start + kQueries);
      }
      stage = next;
      gpu::FinishCopies();
      __syncthreads();
    }

    const float factors[2] = {kept * scale, kept * scale};
    const float value_factors[2] = {kept, kept};
    const int there = s.key_rows - warp_key;
    gpu::StoreFragments(dkey, factors, keys, 16 * warp, g.dk, s.key_row + warp_key, there, head,
                        size, 0);
    gpu::StoreFragments(dvalue, value_factors, values, 16 * warp, g.dv, s.key_row + warp_key, there,
                        head, size, 0);
    __syncthreads();
  }
  // Keys that nobody sees, behind the last tile.
  const int done = min(s.key_rows, (visible + kKeys - 1) / kKeys * kKeys);
  ClearHead<T, Shape>(g.dk, s.key_row + done, s.key_rows - done, head, size);
  ClearHead<T, Shape>(g.dv, s.key_row + done, s.key_rows - done, head, size);
}

template <typename T, typename Shape>
void Launch(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
            const Gradients<T>& gradients) {
  const auto kernel = Backward<T, Shape>;
  constexpr int kBytes = Shape::template kSharedBytes<T>;
  gpu::AllowSharedBytes(kernel, kBytes);
  const dim3 grid(static_cast<unsigned>(shape.keys.count + 1), static_cast<unsigned>(shape.heads));
  kernel<<<grid, Shape::kThreads, kBytes, gpu.stream>>>(shape, dropout, gradients);
  gpu::CheckLaunch();
}

// Tiles that fit sentences of the length that the average one has.
template <typename T, int width>
void LaunchForLength(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                     const Gradients<T>& gradients) {
  constexpr bool kNarrow = width <= 64;
  const int64_t length = gpu::AverageLength(shape.keys);
  if (length <= 32) {
    Launch<T, TileShape<width, 2, 4>>(gpu, shape, dropout, gradients);
  } else if (length <= 64) {
    Launch<T, TileShape<width, 4, 2>>(gpu, shape, dropout, gradients);
  } else if constexpr (kNarrow) {
    // Two blocks on a multiprocessor take a sixth less time than one with more in registers, but
    // more where sentences are long and few.
    if (length <= 128) {
      Launch<T, TileShape<width, 8, 2, false>>(gpu, shape, dropout, gradients);
    } else {
      Launch<T, TileShape<width, 8, 1>>(gpu, shape, dropout, gradients);
    }
  } else {
    Launch<T, TileShape<width, 4, 2>>(gpu, shape, dropout, gradients);
  }
}

}  // namespace

template <typename T>
bool TensorCoreAttentionGradient(const Gpu& gpu, const AttentionShape& shape,
                                 const Dropout& dropout, HeadRows<const T> q, HeadRows<const T> k,
                                 HeadRows<const T> v, const T* out, const float* log_sums,
                                 const T* dout, HeadRows<T> dq, HeadRows<T> dk, HeadRows<T> dv) {
  const ArenaScope scope(gpu.arena);
  const int64_t n = shape.hidden_size();
  Gradients<T> g = {q,         k,           v,  {out, n}, log_sums,
                    {dout, n}, dq,          dk, dv,       Philox::RoundKeys(dropout.seed),
                    nullptr,   {nullptr, n}};
  if (shape.head_size > 128 || !gpu::HasTensorCores() ||
      !gpu::HeadsAreAligned(shape.head_size, q, k, v, g.out, g.dout, dq, dk, dv)) {
    return false;
  }
  g.deltas = gpu.arena->Allocate<float>(shape.heads * shape.queries.rows);
  g.partial.data = gpu.arena->Allocate<float>(shape.queries.rows * n);
  if (shape.head_size <= 32) {
    LaunchForLength<T, 32>(gpu, shape, dropout, g);
  } else if (shape.head_size <= 64) {
    LaunchForLength<T, 64>(gpu, shape, dropout, g);
  } else {
    LaunchForLength<T, 128>(gpu, shape, dropout, g);
  }
  return true;
}

template bool TensorCoreAttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                          HeadRows<const float16>, HeadRows<const float16>,
                                          HeadRows<const float16>, const float16*, const float*,
                                          const float16*, HeadRows<float16>, HeadRows<float16>,
                                          HeadRows<float16>);
template bool TensorCoreAttentionGradient(const Gpu&, const AttentionShape&, const Dropout&,
                                          HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                                          HeadRows<const bfloat16>, const bfloat16*, const float*,
                                          const bfloat16*, HeadRows<bfloat16>, HeadRows<bfloat16>,
                                          HeadRows<bfloat16>);

}  // namespace tf_ls
