#include <cmath>
#include <type_traits>

#include "cc/kernels/gpu_logit_row.cu.h"
#include "cc/kernels/gpu_word.cu.h"
#include "cc/kernels/log_add_exp.h"
#include "cc/kernels/top_k.h"

namespace tf_ls {
namespace {

using gpu::kAllLanes;
using gpu::kWarp;
using gpu::Word;

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kPack = 4;   // logits that a thread compares before it is seen whether there is room
constexpr int kPacks = 4;  // that are read at the same time
constexpr int kTile = kPacks * kPack * kThreads;
constexpr int kCapacity = 4096;
constexpr int kNoRoom = kCapacity - kPack * kThreads;

// The n-th best of a warp's words, 0 if there are not as many.
__device__ Word NthOfWarp(Word mine, int n) {
  int better = 0;
#pragma unroll
  for (int i = 0; i < kWarp; ++i) better += __shfl_sync(kAllLanes, mine, i) > mine;
  const unsigned found = __ballot_sync(kAllLanes, better == n - 1);
  return found == 0 ? 0 : __shfl_sync(kAllLanes, mine, __ffs(found) - 1);
}

// A word that at least k of the block's are not worse than, if each thread has the best of its own;
// 0 if none is known. Near the k-th best: half of the warps have enough of them.
__device__ Word BoundOfBlock(Word mine, int k) {
  __shared__ Word of_warp[kWarps];
  const int each = (k + kWarps / 2 - 1) / (kWarps / 2);
  const Word nth = NthOfWarp(mine, each);
  const int lane = threadIdx.x % kWarp;
  __syncthreads();  // somebody may still read those before
  if (lane == 0) of_warp[threadIdx.x / kWarp] = nth;
  __syncthreads();
  return NthOfWarp(lane < kWarps ? of_warp[lane] : 0, (k + each - 1) / each);
}

// Words that may be among the k best, in memory that a block shares.
struct Candidates {
  Word words[kCapacity];
  Word best[kMostOfTopK];
  int count;

  // Whether the word found a place where little room is left.
  __device__ bool Add(Word word) {
    const int place = atomicAdd(&count, 1);
    words[place] = word;
    return place >= kNoRoom;
  }

  // Leaves the k best, in their order; returns the k-th best, or 0 if there are fewer. Compares all
  // with all: there are few, unless logits ascend.
  __device__ Word Drop(int k) {
    __syncthreads();
    const int all = count;
    for (int i = threadIdx.x; i < all; i += kThreads) {
      const Word mine = words[i];
      int better = 0;
      for (int j = 0; j < all; ++j) better += words[j] > mine;
      if (better < k) best[better] = mine;
    }
    __syncthreads();
    const int left = min(all, k);
    for (int i = threadIdx.x; i < left; i += kThreads) words[i] = best[i];
    if (threadIdx.x == 0) count = left;
    __syncthreads();
    return all < k ? 0 : best[k - 1];
  }
};

// A block for each row, in one pass: it holds a tile in registers, sums it, and puts aside what may
// be among the best.
template <bool packed>
__global__ void __launch_bounds__(kThreads) Select(const LogitColumns columns, const bool are_first,
                                                   const bool are_last, const TopWords words) {
  __shared__ Candidates candidates;
  __shared__ bool bad;
  const int64_t row = blockIdx.x;
  const float* const logits = columns.logits + row * columns.stride;
  const int n = static_cast<int>(columns.count);
  const int k = static_cast<int>(words.k);
  float* const best_logits = words.logits + row * k;
  int32_t* const best_ids = words.ids + row * k;
  const int thread = threadIdx.x;

  if (thread == 0) candidates.count = 0;
  __syncthreads();
  if (!are_first && thread < k && best_ids[thread] >= 0) {
    candidates.Add(gpu::MakeWord(best_logits[thread], best_ids[thread]));
  }
  Word bound = candidates.Drop(k);
  gpu::LogitSums sums(/*label_logit=*/0.0f);
  for (int start = 0; start < n; start += kTile) {
    float tile[kPacks][kPack];
    const auto column = [&](int p) { return start + (p * kThreads + thread) * kPack; };
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (packed && column(p) + kPack <= n) {
        gpu::LoadPack<kPack>(logits + column(p), tile[p]);
      } else {
#pragma unroll
        for (int i = 0; i < kPack; ++i) {
          tile[p][i] = column(p) + i < n ? logits[column(p) + i] : -INFINITY;
        }
      }
    }
    const auto word = [&](int p, int i) {
      const int at = column(p) + i;
      return at < n ? gpu::MakeWord(tile[p][i], static_cast<int>(columns.first) + at) : 0;
    };
    Word most = 0;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      sums.Add(tile[p]);
#pragma unroll
      for (int i = 0; i < kPack; ++i) most = max(most, word(p, i));
    }
    bound = max(bound, BoundOfBlock(most, k));
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      bool no_room = false;
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        const Word mine = word(p, i);
        if (mine != 0 && mine >= bound) no_room |= candidates.Add(mine);
      }
      if (__syncthreads_or(no_room)) bound = max(bound, candidates.Drop(k));
    }
  }
  candidates.Drop(k);
  sums.SumOverGroup<kThreads>();

  if (thread == 0) {
    double log_sum = are_first ? -INFINITY : words.log_sums[row];
    log_sum = LogAddExp(log_sum, sums.top() + log(static_cast<double>(sums.exp_sum())));
    bad = isnan(log_sum) || (are_last && log_sum == -INFINITY);
    if (bad) {
      log_sum = NAN;
      gpu::TellOfBadRow(row, words.bad_row);
    }
    words.log_sums[row] = log_sum;
  }
  __syncthreads();
  if (thread < k) {
    const bool there = !bad && thread < candidates.count;
    best_logits[thread] = bad ? NAN : there ? gpu::LogitOf(candidates.words[thread]) : -INFINITY;
    best_ids[thread] = there ? gpu::IdOf(candidates.words[thread]) : -1;
  }
}

}  // namespace

// Reads rows * V * 4 bytes.
void TopK(const Gpu& gpu, const LogitColumns& columns, const TopWords& words) {
  CheckTopK(words.k);
  gpu::CheckVocabulary(columns.vocab_size);
  if (columns.rows == 0) return;
  const auto run = [&](auto packed) {
    Select<decltype(packed)::value>
        <<<static_cast<unsigned>(columns.rows), kThreads, 0, gpu.stream>>>(
            columns, columns.AreFirst(), columns.AreLast(), words);
  };
  gpu::CanPack<float, kPack>(columns.stride, columns.logits) ? run(std::true_type())
                                                             : run(std::false_type());
  gpu::CheckLaunch();
}

}  // namespace tf_ls
