#include <cmath>

#include "cc/kernels/gpu_attention_tile.cu.h"
#include "cc/kernels/tensor_core_attention.h"

namespace tf_ls {
namespace {

using gpu::kAllLanes;
using gpu::kWarp;
using gpu::LeftFragment;
using gpu::ResultFragment;
using gpu::RightFragment;
using gpu::SentenceRows;
using gpu::SharedMatrix;

// A warp has 16 queries, which meet `keys` keys at a time. Two stages of keys and values: one is
// worked on while the other is copied. `blocks` of them fit a multiprocessor's registers.
template <int width, int warps, int keys, int blocks>
struct TileShape {
  static constexpr int kWidth = width;  // of heads, filled up
  static constexpr int kKeys = keys;
  static constexpr int kThreads = warps * kWarp;
  static constexpr int kQueries = 16 * warps;
  static constexpr int kBlocks = blocks;
  template <typename T>
  static constexpr int kSharedBytes = SharedMatrix<T, width>::Bytes(kQueries + 4 * keys);
};

// What a lane has of 16 queries' products with a tile of keys, and then of their weights: of rows
// lane / 4 and lane / 4 + 8, thanks to gpu::InFours, four neighbouring keys of each 16.
template <int keys>
struct Weights {
  ResultFragment fragments[keys / 8];

  // Calls function(x, key) for those of one row.
  template <typename Function>
  __device__ void Each(int half, const Function& function) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < keys / 8; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        function(fragments[i].values[2 * half + e],
                 16 * (i / 2) + 4 * (lane % 4) + 2 * (i % 2) + e);
      }
    }
  }

  // Zeroes what dropout drops of one row, number `row` of all queries.
  __device__ void Drop(const Dropout& dropout, const Philox::RoundKeys& round_keys, int half,
                       int row, int head, int first_key) {
    const int lane = threadIdx.x % kWarp;
    const uint32_t threshold = dropout.threshold();
#pragma unroll
    for (int i = 0; i < keys / 16; ++i) {
      uint32_t words[4] = {static_cast<uint32_t>((first_key + 16 * i) / 4 + lane % 4),
                           static_cast<uint32_t>(row), static_cast<uint32_t>(head),
                           static_cast<uint32_t>(dropout.site)};
      Philox::Generate(round_keys, words);
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        if (words[word] < threshold) {
          fragments[2 * i + word / 2].values[2 * half + word % 2] = 0.0f;
        }
      }
    }
  }

  // Those of 16 keys, as a left factor.
  template <typename T>
  __device__ LeftFragment Left(int i) const {
    LeftFragment left;
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const float* const pair = &fragments[2 * i + part / 2].values[part % 2 * 2];
      left.pairs[part] = gpu::NarrowPair<T>(pair[0], pair[1]);
    }
    return left;
  }
};

__device__ float MaxOverRow(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}
__device__ float SumOverRow(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    Forward(AttentionShape shape, Dropout dropout, Philox::RoundKeys round_keys,
            HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, HeadRows<T> out,
            float* log_sums) {
  constexpr int kKeys = Shape::kKeys;
  constexpr int kSteps = Shape::kWidth / 16;
  extern __shared__ __align__(16) unsigned char memory[];
  using Matrix = SharedMatrix<T, Shape::kWidth>;
  const Matrix queries{reinterpret_cast<T*>(memory)};
  const Matrix stages{queries.At(Shape::kQueries, 0)};

  const int head = blockIdx.y;
  const int size = static_cast<int>(shape.head_size);
  const int sentence = gpu::SentenceOfSlot<Shape::kQueries>(shape.queries, blockIdx.x);
  const SentenceRows s(shape, sentence);
  const int first = gpu::FirstRowOfSlot<Shape::kQueries>(shape.queries, sentence, blockIdx.x);
  if (first >= s.queries) return;
  // The last query sees most.
  const int most = s.Seen(min(first + Shape::kQueries, s.queries) - 1);

  using KeyCopy = gpu::HeadCopy<kKeys, Shape::kThreads, T, Shape::kWidth, gpu::InFours>;
  const KeyCopy copy_keys(k, s.key_row, head, size), copy_values(v, s.key_row, head, size);
  const auto start_stage = [&](int stage, int start) {
    const Matrix to{stages.At(stage * 2 * kKeys, 0)};
    copy_keys.Start(start, most, to);
    copy_values.Start(start, most, Matrix{to.At(kKeys, 0)});
  };
  gpu::HeadCopy<Shape::kQueries, Shape::kThreads, T, Shape::kWidth>(q, s.query_row, head, size)
      .Start(first, s.queries, queries);
  if (most > 0) start_stage(0, 0);
  gpu::FinishCopies();
  __syncthreads();

  const int lane = threadIdx.x % kWarp;
  const int warp_row = threadIdx.x / kWarp * 16;
  LeftFragment query[kSteps];
  ResultFragment sum[2 * kSteps];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    query[step] = queries.Left(warp_row, 16 * step);
    sum[2 * step].Clear();
    sum[2 * step + 1].Clear();
  }
  // Of this lane's two rows: the largest product with a key so far, this lane's share of the sum of
  // weights, and how many keys the row sees.
  float top[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0f, 0.0f};
  int seen[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) seen[half] = s.Seen(first + warp_row + 8 * half + lane / 4);
  const int warp_least = s.Seen(first + warp_row);
  const int warp_most = s.Seen(first + warp_row + 15);
  // Weights are powers of two, of products that are not scaled yet.
  const float scale = gpu::ScoreScale(size);
  const float exponent = scale * gpu::kLog2E;

  int stage = 0;
  for (int start = 0; start < most; start += kKeys) {
    if (start + kKeys < most) start_stage(1 - stage, start + kKeys);
    if (start < warp_most) {
      const Matrix keys{stages.At(stage * 2 * kKeys, 0)};
      const Matrix values{keys.At(kKeys, 0)};
      Weights<kKeys> weights;
#pragma unroll
      for (int i = 0; i < kKeys / 16; ++i) {
        ResultFragment* const products = &weights.fragments[2 * i];
        products[0].Clear();
        products[1].Clear();
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          RightFragment key[2];
          keys.RightTransposed(16 * i, 16 * step, key);
          gpu::MultiplyAdd(T(), query[step], key[0], &products[0]);
          gpu::MultiplyAdd(T(), query[step], key[1], &products[1]);
        }
      }
      const bool all_seen = start + kKeys <= warp_least;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (!all_seen) {
          weights.Each(half, [&](float& x, int key) {
            if (start + key >= seen[half]) x = -INFINITY;
          });
        }
        float new_top = top[half];
        weights.Each(half, [&](float& x, int) { new_top = fmaxf(new_top, x); });
        new_top = MaxOverRow(new_top);
        const float base = new_top == -INFINITY ? 0.0f : new_top;  // no key seen yet
        const float correction = gpu::PowerOfTwo((top[half] - base) * exponent);
        top[half] = new_top;
        float added = 0.0f;
        weights.Each(half, [&](float& x, int) {
          x = gpu::PowerOfTwo((x - base) * exponent);
          added += x;
        });
        total[half] = total[half] * correction + added;
#pragma unroll
        for (int i = 0; i < 2 * kSteps; ++i) {
          sum[i].values[2 * half] *= correction;
          sum[i].values[2 * half + 1] *= correction;
        }
      }
      if (dropout.active()) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = s.query_row + first + warp_row + 8 * half + lane / 4;
          weights.Drop(dropout, round_keys, half, row, head, start);
        }
      }
#pragma unroll
      for (int i = 0; i < kKeys / 16; ++i) {
        const LeftFragment left = weights.template Left<T>(i);
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          RightFragment value[2];
          values.Right(16 * i, 16 * step, value);
          gpu::MultiplyAdd(T(), left, value[0], &sum[2 * step]);
          gpu::MultiplyAdd(T(), left, value[1], &sum[2 * step + 1]);
        }
      }
    }
    stage = 1 - stage;
    gpu::FinishCopies();
    __syncthreads();
  }

  const float kept = dropout.active() ? dropout.scale() : 1.0f;
  float factors[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float all = SumOverRow(total[half]);
    factors[half] = seen[half] > 0 ? kept / all : 0.0f;
    const int row = first + warp_row + 8 * half + lane / 4;
    if (lane % 4 == 0 && row < s.queries) {
      log_sums[head * shape.queries.rows + s.query_row + row] =
          seen[half] > 0 ? gpu::Score(top[half], scale) + logf(all) : 0.0f;
    }
  }
  gpu::StoreFragments(sum, factors, queries, warp_row, out, s.query_row + first + warp_row,
                      s.queries - first - warp_row, head, size, 0);
}

template <typename T, typename Shape>
void Launch(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
            HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, HeadRows<T> out,
            float* log_sums) {
  const auto kernel = Forward<T, Shape>;
  constexpr int kBytes = Shape::template kSharedBytes<T>;
  gpu::AllowSharedBytes(kernel, kBytes);
  const dim3 grid(gpu::TileSlots<Shape::kQueries>(shape.queries),
                  static_cast<unsigned>(shape.heads));
  kernel<<<grid, Shape::kThreads, kBytes, gpu.stream>>>(
      shape, dropout, Philox::RoundKeys(dropout.seed), q, k, v, out, log_sums);
  gpu::CheckLaunch();
}

// Tiles that fit sentences of the length that the average one has.
template <typename T, int width>
void LaunchForLength(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                     HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, HeadRows<T> out,
                     float* log_sums) {
  constexpr bool kNarrow = width <= 64;
  const int64_t length = gpu::AverageLength(shape.queries);
  if (length <= 32) {
    Launch<T, TileShape<width, 2, 32, kNarrow ? 8 : 4>>(gpu, shape, dropout, q, k, v, out,
                                                        log_sums);
  } else if (length <= 128 || !kNarrow) {
    Launch<T, TileShape<width, 4, 64, kNarrow ? 4 : 2>>(gpu, shape, dropout, q, k, v, out,
                                                        log_sums);
  } else {
    Launch<T, TileShape<kNarrow ? width : 64, 8, 64, 2>>(gpu, shape, dropout, q, k, v, out,
                                                         log_sums);
  }
}

}  // namespace

template <typename T>
bool TensorCoreAttention(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                         HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
                         float* log_sums) {
  const HeadRows<T> o = {out, shape.hidden_size()};
  if (!gpu::HeadsAreAligned(shape.head_size, q, k, v, o) || !gpu::HasTensorCores()) return false;
  if (shape.head_size <= 32) {
    LaunchForLength<T, 32>(gpu, shape, dropout, q, k, v, o, log_sums);
  } else if (shape.head_size <= 64) {
    LaunchForLength<T, 64>(gpu, shape, dropout, q, k, v, o, log_sums);
  } else if (shape.head_size <= 128) {
    LaunchForLength<T, 128>(gpu, shape, dropout, q, k, v, o, log_sums);
  } else {
    return false;
  }
  return true;
}

template bool TensorCoreAttention(const Gpu&, const AttentionShape&, const Dropout&,
                                  HeadRows<const float16>, HeadRows<const float16>,
                                  HeadRows<const float16>, float16*, float*);
template bool TensorCoreAttention(const Gpu&, const AttentionShape&, const Dropout&,
                                  HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                                  HeadRows<const bfloat16>, bfloat16*, float*);

}  // namespace tf_ls
