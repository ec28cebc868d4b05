#include <cfloat>
#include <cmath>
#include <type_traits>

#include "cc/kernels/gpu_logit_row.cu.h"
#include "cc/kernels/gpu_word.cu.h"
#include "cc/kernels/sample_tokens.h"
#include "cc/kernels/sampling_draw.h"

namespace tf_ls {
namespace {

using gpu::kAllLanes;
using gpu::kWarp;
using gpu::Word;

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kQuad = 4;    // tokens that share a random counter, and that a thread reads at once
constexpr int kUnroll = 4;  // such reads that are under way at the same time
constexpr int kCuts = 7;    // of an interval of words in one pass

// A token and what it competes with; id -1 and minus infinity for none. No constructor: blocks
// share it.
struct Winner {
  double sum;
  float logit;
  int id;

  __device__ void Meet(const Winner& other) {
    if (other.sum > sum || (other.sum == sum && other.id < id)) *this = other;
  }
};
__device__ Winner NoWinner() { return {-INFINITY, -INFINITY, -1}; }

// Every thread gets it.
template <int threads>
__device__ Winner WinnerOfBlock(Winner mine) {
  __shared__ Winner of_warp[threads / kWarp];
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Winner other = {__shfl_xor_sync(kAllLanes, mine.sum, offset),
                          __shfl_xor_sync(kAllLanes, mine.logit, offset),
                          __shfl_xor_sync(kAllLanes, mine.id, offset)};
    mine.Meet(other);
  }
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = mine;
  __syncthreads();
  for (int i = 0; i < threads / kWarp; ++i) mine.Meet(of_warp[i]);
  return mine;
}

__device__ void Write(const SampledTokens& out, int64_t row, const Winner& winner, double log_sum) {
  const bool drawn = winner.id >= 0;
  out.tokens[row] = winner.id;
  out.log_probs[row] = drawn ? static_cast<float>(winner.logit - log_sum) : -INFINITY;
}

__device__ void WriteBad(const SampledTokens& out, int64_t row) {
  out.tokens[row] = -1;
  out.log_probs[row] = NAN;
  gpu::TellOfBadRow(row, out.bad_row);
}

__device__ bool IsExcluded(const ExcludedTokens& excluded, int64_t row, int id) {
  if (excluded.begins == nullptr) return false;
  for (int i = excluded.begins[row]; i < excluded.ends[row]; ++i) {
    if (excluded.tokens[i] == id) return true;
  }
  return false;
}

// --- From the best words, which TopK has found: a block for each row, a thread for each word

__global__ void __launch_bounds__(kMostOfTopK)
    DrawFromBest(const SamplingDraw draw, const SampledRows in, const TopWords best,
                 const SampledTokens out) {
  __shared__ float logits[kMostOfTopK];  // best first; minus infinity if not to be drawn
  __shared__ double weights[kMostOfTopK];
  const int64_t row = blockIdx.x;
  const int k = static_cast<int>(best.k);
  const int thread = threadIdx.x;
  const double log_sum = best.log_sums[row];
  if (isnan(log_sum)) {
    if (thread == 0) WriteBad(out, row);
    return;  // the whole block
  }
  const int id = thread < k ? best.ids[row * k + thread] : -1;
  const bool is_left = id >= 0 && !IsExcluded(in.excluded, row, id);
  const float logit = is_left ? best.logits[row * k + thread] : -INFINITY;
  logits[thread] = logit;
  __syncthreads();
  float top = -INFINITY;
  int better = 0;
  for (int i = 0; i < k; ++i) {
    top = fmaxf(top, logits[i]);
    better += i < thread && logits[i] > -INFINITY;
  }
  bool may_be_drawn = logit > -INFINITY && better < draw.top_k;
  if (draw.top_p < 1.0) {
    weights[thread] =
        may_be_drawn ? exp((static_cast<double>(logit) - top) / draw.temperature) : 0.0;
    __syncthreads();
    double of_better = 0.0, all = 0.0;
    for (int i = 0; i < k; ++i) {
      if (i == thread) of_better = all;
      all += weights[i];
    }
    may_be_drawn = may_be_drawn && of_better < draw.top_p * all;
  }
  Winner winner = NoWinner();
  if (may_be_drawn) {
    winner = {draw.Sum(logit, top, GumbelNoise(draw.keys, in.counters[row], id)), logit, id};
  }
  winner = WinnerOfBlock<kMostOfTopK>(winner);
  if (thread == 0) Write(out, row, winner, log_sum);
}

// --- From the whole row: a block for each

template <bool packed>
struct Logits {
  const float* values;
  int n;

  // Calls body(logits, quad), the logits of tokens 4 * quad to 4 * quad + 3, in all threads alike:
  // what lies behind the row's end is minus infinity.
  template <typename Body>
  __device__ void ForEachQuad(const Body& body) const {
    const int quads = n / kQuad + (n % kQuad != 0);
    for (int start = 0; start < quads; start += kUnroll * kThreads) {
      float logits[kUnroll][kQuad];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int quad = start + u * kThreads + static_cast<int>(threadIdx.x);
        if (packed && quad < quads) {
          gpu::LoadPack<kQuad>(values + quad * kQuad, logits[u]);
        } else {
#pragma unroll
          for (int i = 0; i < kQuad; ++i) {
            const bool is_there = quad < quads && i < n - quad * kQuad;
            logits[u][i] = is_there ? values[quad * kQuad + i] : -INFINITY;
          }
        }
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (start + u * kThreads >= quads) break;
        body(logits[u], start + u * kThreads + static_cast<int>(threadIdx.x));
      }
    }
  }
};

// What words from some word on weigh together.
struct Amount {
  int count;
  float mass;
};

// Memory in which a block looks for a limit.
struct Search {
  Amount of_warps[kWarps][kCuts];
  Amount amounts[kCuts];
  int found;
  Word words[kThreads];
  Word sorted[kThreads];
  float weights[kThreads];
  Word limit;
};

// Finds the best word, if it is better than `floor`, of which it and all better ones are `top_k`
// words, or (of_mass) top_p of what all from `floor` on weigh; else `floor`. Sums are added up in
// the same order for each limit, so that no limit weighs more than a lower one.
template <bool packed, bool of_mass>
class LimitSearch {
 public:
  __device__ LimitSearch(const SamplingDraw& draw, const Logits<packed>& logits, float top,
                         Search* shared)
      : draw_(draw), logits_(logits), top_(top), shared_(*shared) {}

  __device__ Word Find(Word floor) const {
    Word cuts[kCuts];
    cuts[0] = floor;
    const float scale = of_mass ? static_cast<float>(draw_.temperature) : 1.0f;
#pragma unroll
    for (int j = 1; j < kCuts; ++j) {
      cuts[j] = max(floor, gpu::LeastWord(top_ - scale * (0.25f * static_cast<float>(1 << j))));
    }
    Amount amounts[kCuts];
    Weigh(cuts, amounts);
    const double wanted = of_mass ? draw_.top_p * amounts[0].mass : draw_.top_k;
    if (!IsEnough(amounts[0], wanted)) return floor;

    // The limit is a word from `low` on, and before `high`.
    Word low = floor, high = gpu::LeastWord(top_) + (Word{1} << 32);
    Amount from_low = amounts[0], from_high = {0, 0.0f};
    const auto narrow = [&] {
#pragma unroll
      for (int j = 0; j < kCuts; ++j) {
        if (IsEnough(amounts[j], wanted)) {
          if (cuts[j] <= low) continue;
          low = cuts[j];
          from_low = amounts[j];
        } else if (cuts[j] < high) {
          high = cuts[j];
          from_high = amounts[j];
        }
      }
    };
    for (narrow(); from_low.count - from_high.count > kThreads; narrow()) {
      Cut(low, high, cuts);
      Weigh(cuts, amounts);
    }
    return FindBetween(low, high, from_high, wanted);
  }

 private:
  // Four cuts by logit, which is best as a rule, and three by number, which always leave a quarter.
  static __device__ void Cut(Word low, Word high, Word (&cuts)[kCuts]) {
    constexpr int kByLogit = 4, kByNumber = kCuts - kByLogit;
    const float from = gpu::LogitOf(low), to = gpu::LogitOf(high);
#pragma unroll
    for (int j = 0; j < kCuts; ++j) {
      const Word cut =
          j < kByLogit
              ? gpu::LeastWord(from + (to - from) * (static_cast<float>(j + 1) / (kByLogit + 1)))
              : low + (high - low) / (kByNumber + 1) * (j - kByLogit + 1);
      cuts[j] = min(max(cut, low + 1), high - 1);
    }
  }

  static __device__ bool IsEnough(const Amount& amount, double wanted) {
    return of_mass ? amount.mass >= wanted : amount.count >= wanted;
  }

  __device__ float Weight(float logit) const {
    return of_mass ? gpu::Exp((logit - top_) * draw_.factor) : 1.0f;
  }

  // amounts[j]: of the words from cuts[j] on. No cut is as low as minus infinity.
  __device__ void Weigh(const Word (&cuts)[kCuts], Amount (&amounts)[kCuts]) const {
#pragma unroll
    for (int j = 0; j < kCuts; ++j) amounts[j] = {0, 0.0f};
    logits_.ForEachQuad([&](const float* logits, int quad) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const Word word = gpu::MakeWord(logits[i], quad * kQuad + i);
        const float weight = Weight(logits[i]);
#pragma unroll
        for (int j = 0; j < kCuts; ++j) {
          if (word < cuts[j]) continue;
          ++amounts[j].count;
          if (of_mass) amounts[j].mass += weight;
        }
      }
    });
#pragma unroll
    for (int j = 0; j < kCuts; ++j) {
#pragma unroll
      for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        amounts[j].count += __shfl_xor_sync(kAllLanes, amounts[j].count, offset);
        if (of_mass) amounts[j].mass += __shfl_xor_sync(kAllLanes, amounts[j].mass, offset);
      }
      if (threadIdx.x % kWarp == 0) shared_.of_warps[threadIdx.x / kWarp][j] = amounts[j];
    }
    __syncthreads();
    if (threadIdx.x < kCuts) {
      Amount amount = {0, 0.0f};
      for (int i = 0; i < kWarps; ++i) {
        amount.count += shared_.of_warps[i][threadIdx.x].count;
        amount.mass += shared_.of_warps[i][threadIdx.x].mass;
      }
      shared_.amounts[threadIdx.x] = amount;
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kCuts; ++j) amounts[j] = shared_.amounts[j];
  }

  // The limit among words from `low` on and before `high`, of which there are not more than
  // threads.
  __device__ Word FindBetween(Word low, Word high, const Amount& from_high, double wanted) const {
    const int thread = threadIdx.x;
    if (thread == 0) shared_.found = 0;
    __syncthreads();
    logits_.ForEachQuad([&](const float* logits, int quad) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const Word word = gpu::MakeWord(logits[i], quad * kQuad + i);
        if (low <= word && word < high) shared_.words[atomicAdd(&shared_.found, 1)] = word;
      }
    });
    __syncthreads();
    const int found = shared_.found;
    if (thread < found) {
      const Word mine = shared_.words[thread];
      int better = 0;
      for (int i = 0; i < found; ++i) better += shared_.words[i] > mine;
      shared_.sorted[better] = mine;
      shared_.weights[better] = Weight(gpu::LogitOf(mine));
    }
    __syncthreads();
    if (thread == 0) {
      double sum = of_mass ? from_high.mass : from_high.count;
      int i = 0;
      // The last one if something is missing, which has been rounded away.
      for (; i < found - 1; ++i) {
        sum += shared_.weights[i];
        if (sum >= wanted) break;
      }
      shared_.limit = shared_.sorted[i];
    }
    __syncthreads();
    return shared_.limit;
  }

  const SamplingDraw& draw_;
  const Logits<packed>& logits_;
  const float top_;
  Search& shared_;
};

// The winner of the words from `limit` on, in this thread's share of the row.
template <bool packed>
__device__ Winner DrawFrom(const SamplingDraw& draw, const SampleCounter& counter,
                           const Logits<packed>& logits, float top, Word limit) {
  Winner winner = NoWinner();
  float bound = -INFINITY;
  logits.ForEachQuad([&](const float* values, int quad) {
    bool is_any_left = false;
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      is_any_left |= gpu::MakeWord(values[i], quad * kQuad + i) >= limit;
    }
    if (is_any_left) {
      uint32_t words[kQuad];
      RandomWords(draw.keys, counter, static_cast<uint32_t>(quad), words);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const int id = quad * kQuad + i;
        if (gpu::MakeWord(values[i], id) < limit) continue;
        if (LeastUniform(words[i]) > gpu::Exp((values[i] - top) * draw.factor - bound)) continue;
        winner.Meet({draw.Sum(values[i], top, GumbelOfWord(words[i])), values[i], id});
      }
    }
    // The best of a warp is a bound that each of its threads alone would find much later.
    bound = BoundForFloats(gpu::GroupMax<kWarp>(static_cast<float>(winner.sum)));
  });
  return winner;
}

template <bool packed>
__global__ void __launch_bounds__(kThreads)
    DrawFromRow(const SamplingDraw draw, const SampledRows in, const SampledTokens out) {
  __shared__ Search shared;
  const int64_t row = blockIdx.x;
  float* const values = in.logits + row * in.vocab_size;
  const Logits<packed> logits = {values, static_cast<int>(in.vocab_size)};
  const int thread = threadIdx.x;

  gpu::LogitSums sums(/*label_logit=*/0.0f);
  gpu::ReadRow<kThreads>(logits.values, logits.n, &sums);
  sums.SumOverGroup<kThreads>();
  const double log_sum = sums.top() + log(static_cast<double>(sums.exp_sum()));
  if (!isfinite(log_sum)) {
    if (thread == 0) WriteBad(out, row);
    return;  // the whole block
  }

  float top = sums.top();
  bool is_top_gone = false;
  if (in.excluded.begins != nullptr) {
    for (int i = in.excluded.begins[row] + thread; i < in.excluded.ends[row]; i += kThreads) {
      is_top_gone |= atomicExch(values + in.excluded.tokens[i], -INFINITY) == top;
    }
  }
  if (__syncthreads_or(is_top_gone)) {
    top = -INFINITY;
    logits.ForEachQuad([&](const float* quad, int) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) top = fmaxf(top, quad[i]);
    });
    top = gpu::GroupMax<kThreads>(top);
    if (top == -INFINITY) {
      if (thread == 0) Write(out, row, NoWinner(), log_sum);
      return;  // the whole block
    }
  }

  Word limit = gpu::LeastWord(-FLT_MAX);
  if (draw.top_k > 0 && draw.top_k < in.vocab_size) {
    limit = LimitSearch<packed, false>(draw, logits, top, &shared).Find(limit);
  }
  if (draw.top_p < 1.0) {
    limit = LimitSearch<packed, true>(draw, logits, top, &shared).Find(limit);
  }
  const Winner winner =
      WinnerOfBlock<kThreads>(DrawFrom(draw, in.counters[row], logits, top, limit));
  if (thread == 0) Write(out, row, winner, log_sum);
}

}  // namespace

// With top_k and top_p off, and nothing excluded that is more probable than all else, reads 2 *
// rows * V * 4 bytes; each of the two reads them some 5 times more.
void SampleTokens(const Gpu& gpu, const SamplingOptions& options, const SampledRows& in,
                  const SampledTokens& out) {
  CheckSampling(options);
  gpu::CheckVocabulary(in.vocab_size);
  if (in.rows == 0) return;
  const SamplingDraw draw(options);
  const auto blocks = static_cast<unsigned>(in.rows);
  if (TopKIsEnough(options, in.excluded)) {
    const ArenaScope scope(gpu.arena);
    const TopWords best = BestWords(gpu, options.top_k + in.excluded.most, in, out.bad_row);
    DrawFromBest<<<blocks, kMostOfTopK, 0, gpu.stream>>>(draw, in, best, out);
  } else if (gpu::CanPack<float, kQuad>(in.vocab_size, in.logits)) {
    DrawFromRow<true><<<blocks, kThreads, 0, gpu.stream>>>(draw, in, out);
  } else {
    DrawFromRow<false><<<blocks, kThreads, 0, gpu.stream>>>(draw, in, out);
  }
  gpu::CheckLaunch();
}

}  // namespace tf_ls
