#include <cmath>

#include "cc/kernels/gpu_attention_tile.cu.h"
#include "cc/kernels/tensor_core_attention.h"

namespace tf_ls {
namespace {

using gpu::kWarp;
using gpu::LeftFragment;
using gpu::ResultFragment;
using gpu::RightFragment;
using gpu::SentenceRows;
using gpu::SharedMatrix;

// A warp has `tiles` times 16 queries, which meet `keys` keys at a time. Two stages of keys and
// values: one is worked on while the other is copied.
template <int width, int warps, int tiles, int keys>
struct TileShape {
  static constexpr int kWidth = width;  // of heads, filled up
  static constexpr int kTiles = tiles;
  static constexpr int kKeys = keys;
  static constexpr int kThreads = warps * kWarp;
  static constexpr int kWarpQueries = 16 * tiles;
  static constexpr int kQueries = warps * kWarpQueries;
  template <typename T>
  static constexpr int kSharedBytes = SharedMatrix<T, width>::Bytes(kQueries + 4 * keys);
};

// Where key i of a tile lies in shared memory. A lane then has four neighbouring keys of each 16,
// those whose random numbers Philox makes at once.
__device__ int PlaceOfKey(int i) { return i / 16 * 16 + i / 2 % 2 * 8 + i % 16 / 4 * 2 + i % 2; }

template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    Forward(AttentionShape shape, Dropout dropout, HeadRows<const T> q, HeadRows<const T> k,
            HeadRows<const T> v, HeadRows<T> out, float* log_sums) {
  constexpr int kTiles = Shape::kTiles;
  constexpr int kKeys = Shape::kKeys;
  constexpr int kSteps = Shape::kWidth / 16;
  extern __shared__ __align__(16) unsigned char memory[];
  using Matrix = SharedMatrix<T, Shape::kWidth>;
  const Matrix queries{reinterpret_cast<T*>(memory)};
  const Matrix stages{queries.At(Shape::kQueries, 0)};

  const int head = blockIdx.y;
  const int size = static_cast<int>(shape.head_size);
  const float scale = gpu::ScoreScale(size);
  const int sentence = gpu::SentenceOfSlot<Shape::kQueries>(shape.queries, blockIdx.x);
  const SentenceRows s(shape, sentence);
  const int first = gpu::FirstRowOfSlot<Shape::kQueries>(shape.queries, sentence, blockIdx.x);
  if (first >= s.queries) return;
  // The last query sees most.
  const int most = s.Seen(min(first + Shape::kQueries, s.queries) - 1);

  const auto start_stage = [&](int stage, int start) {
    const Matrix to{stages.At(stage * 2 * kKeys, 0)};
    gpu::StartHeadCopy<kKeys, Shape::kThreads>(k, s.key_row + start, most - start, head, size, to,
                                               PlaceOfKey);
    gpu::StartHeadCopy<kKeys, Shape::kThreads>(v, s.key_row + start, most - start, head, size,
                                               Matrix{to.At(kKeys, 0)}, PlaceOfKey);
  };
  gpu::StartHeadCopy<Shape::kQueries, Shape::kThreads>(
      q, s.query_row + first, s.queries - first, head, size, queries, [](int i) { return i; });
  if (most > 0) start_stage(0, 0);
  gpu::FinishCopies();
  __syncthreads();

  const int lane = threadIdx.x % kWarp;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * Shape::kWarpQueries;
  LeftFragment query[kTiles][kSteps];
  ResultFragment sum[kTiles][2 * kSteps];
  float top[kTiles][2], total[kTiles][2];  // of this lane's two rows of each tile
  int seen[kTiles][2];
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      query[m][step] = queries.Left(warp_row + 16 * m, 16 * step);
      sum[m][2 * step].Clear();
      sum[m][2 * step + 1].Clear();
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      top[m][half] = -INFINITY;
      total[m][half] = 0.0f;
      seen[m][half] = s.Seen(first + warp_row + 16 * m + 8 * half + lane / 4);
    }
  }
  const int warp_least = s.Seen(first + warp_row);
  const int warp_most = s.Seen(first + warp_row + Shape::kWarpQueries - 1);

  int stage = 0;
  for (int start = 0; start < most; start += kKeys) {
    if (start + kKeys < most) start_stage(1 - stage, start + kKeys);
    if (start < warp_most) {
      const Matrix keys{stages.At(stage * 2 * kKeys, 0)};
      const Matrix values{keys.At(kKeys, 0)};
      ResultFragment weight[kTiles][kKeys / 8];
#pragma unroll
      for (int i = 0; i < kKeys / 16; ++i) {
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          weight[m][2 * i].Clear();
          weight[m][2 * i + 1].Clear();
        }
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          RightFragment key[2];
          keys.RightTransposed(16 * i, 16 * step, key);
#pragma unroll
          for (int m = 0; m < kTiles; ++m) {
            gpu::MultiplyAdd(T(), query[m][step], key[0], &weight[m][2 * i]);
            gpu::MultiplyAdd(T(), query[m][step], key[1], &weight[m][2 * i + 1]);
          }
        }
      }
      const bool all_seen = start + kKeys <= warp_least;
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          // Number e of fragment i is that of key 16 * (i / 2) + 4 * (lane % 4) + 2 * (i % 2) + e.
          const auto each = [&](const auto& function) {
#pragma unroll
            for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
              for (int e = 0; e < 2; ++e) {
                function(weight[m][i].values[2 * half + e],
                         start + 16 * (i / 2) + 4 * (lane % 4) + 2 * (i % 2) + e);
              }
            }
          };
          float new_top = top[m][half];
          each([&](float& x, int key) {
            x = gpu::Score(x, scale);
            if (!all_seen && key >= seen[m][half]) x = -INFINITY;
            new_top = fmaxf(new_top, x);
          });
          new_top = fmaxf(new_top, __shfl_xor_sync(gpu::kAllLanes, new_top, 1));
          new_top = fmaxf(new_top, __shfl_xor_sync(gpu::kAllLanes, new_top, 2));
          const float base = new_top == -INFINITY ? 0.0f : new_top;  // no key seen yet
          const float correction = __expf(top[m][half] - base);
          top[m][half] = new_top;
          float added = 0.0f;
          each([&](float& x, int) {
            x = __expf(x - base);
            added += x;
          });
          total[m][half] = total[m][half] * correction + added;
#pragma unroll
          for (int i = 0; i < 2 * kSteps; ++i) {
            sum[m][i].values[2 * half] *= correction;
            sum[m][i].values[2 * half + 1] *= correction;
          }
        }
      }
      if (dropout.active()) {
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int row = s.query_row + first + warp_row + 16 * m + 8 * half + lane / 4;
#pragma unroll
            for (int i = 0; i < kKeys / 16; ++i) {
              uint32_t words[4] = {static_cast<uint32_t>((start + 16 * i) / 4 + lane % 4),
                                   static_cast<uint32_t>(row), static_cast<uint32_t>(head),
                                   static_cast<uint32_t>(dropout.site)};
              Philox::Generate(dropout.seed, words);
#pragma unroll
              for (int word = 0; word < 4; ++word) {
                if (words[word] < dropout.threshold()) {
                  weight[m][2 * i + word / 2].values[2 * half + word % 2] = 0.0f;
                }
              }
            }
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kKeys / 16; ++i) {
        LeftFragment left[kTiles];
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
#pragma unroll
          for (int part = 0; part < 4; ++part) {
            const float* const pair = &weight[m][2 * i + part / 2].values[part % 2 * 2];
            left[m].pairs[part] = gpu::NarrowPair<T>(pair[0], pair[1]);
          }
        }
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          RightFragment value[2];
          values.Right(16 * i, 16 * step, value);
#pragma unroll
          for (int m = 0; m < kTiles; ++m) {
            gpu::MultiplyAdd(T(), left[m], value[0], &sum[m][2 * step]);
            gpu::MultiplyAdd(T(), left[m], value[1], &sum[m][2 * step + 1]);
          }
        }
      }
    }
    stage = 1 - stage;
    gpu::FinishCopies();
    __syncthreads();
  }

  const float kept = dropout.active() ? dropout.scale() : 1.0f;
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
    const int tile_row = first + warp_row + 16 * m;
    float factors[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float& sum_of_all = total[m][half];
      sum_of_all += __shfl_xor_sync(gpu::kAllLanes, sum_of_all, 1);
      sum_of_all += __shfl_xor_sync(gpu::kAllLanes, sum_of_all, 2);
      factors[half] = seen[m][half] > 0 ? kept / sum_of_all : 0.0f;
      const int row = tile_row + 8 * half + lane / 4;
      if (lane % 4 == 0 && row < s.queries) {
        log_sums[head * shape.queries.rows + s.query_row + row] =
            seen[m][half] > 0 ? top[m][half] + logf(sum_of_all) : 0.0f;
      }
    }
    gpu::StoreFragments(sum[m], factors, queries, warp_row + 16 * m, out, s.query_row + tile_row,
                        s.queries - tile_row, head, size, 0);
  }
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
  kernel<<<grid, Shape::kThreads, kBytes, gpu.stream>>>(shape, dropout, q, k, v, out, log_sums);
  gpu::CheckLaunch();
}

// Tiles that fit sentences of the length that the average one has.
template <typename T, int width>
void LaunchForLength(const Gpu& gpu, const AttentionShape& shape, const Dropout& dropout,
                     HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, HeadRows<T> out,
                     float* log_sums) {
  constexpr int kMostTiles = width > 64 ? 1 : 2;  // that fit the registers
  const int64_t length = gpu::AverageLength(shape.queries);
  if (length <= 32) {
    Launch<T, TileShape<width, 2, 1, 32>>(gpu, shape, dropout, q, k, v, out, log_sums);
  } else if (length <= 128) {
    Launch<T, TileShape<width, 4, 1, 64>>(gpu, shape, dropout, q, k, v, out, log_sums);
  } else {
    Launch<T, TileShape<width, 4, kMostTiles, 64>>(gpu, shape, dropout, q, k, v, out, log_sums);
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
