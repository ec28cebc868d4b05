#ifndef TF_LS_CC_KERNELS_GPU_LOGIT_ROW_CU_H_
#define TF_LS_CC_KERNELS_GPU_LOGIT_ROW_CU_H_

#include <cfloat>
#include <cstdint>

#include "cc/kernels/gpu_primitives.cu.h"
#include "cc/kernels/smoothed_label.h"

// The cross entropy of one row of logits, too long for registers, which a group of `threads`
// threads looks at together: a warp or a whole block.
namespace tf_ls {
namespace gpu {

// How the group accesses a row of n numbers that begins anywhere: 16 bytes a thread from the row's
// first multiple of 32 bytes on, the piece in which memory is read and written, and one number a
// thread before that and behind the last 16 bytes.
template <typename T>
struct RowParts {
  static constexpr int kCount = 16 / sizeof(T);
  using Unit = Pack<T, kCount>;

  __device__ RowParts(const T* row, int n)
      : head(min(n,
                 static_cast<int>((32 - reinterpret_cast<uintptr_t>(row) % 32) % 32 / sizeof(T)))),
        packs((n - head) / kCount),
        tail(head + packs * kCount) {}

  int head;   // numbers before the packs
  int packs;  // of kCount numbers
  int tail;   // column behind the packs
};

// Accesses of a thread that are under way at the same time.
constexpr int kUnroll = 4;

// Calls body->Add(values) with arrays that together hold this thread's share of the row.
template <int threads, typename T, typename Body>
__device__ void ReadRow(const T* row, int n, Body* body) {
  using Parts = RowParts<T>;
  using Unit = typename Parts::Unit;
  const Parts parts(row, n);
  const int lane = threadIdx.x % threads;
  const auto single = [&](int column) {
    const float value[1] = {Widen(row[column])};
    body->Add(value);
  };
  if (lane < parts.head) single(lane);
  const Unit* const packs = reinterpret_cast<const Unit*>(row + parts.head);
  for (int first = lane; first < parts.packs; first += kUnroll * threads) {
    Unit units[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u * threads < parts.packs) units[u] = packs[first + u * threads];
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u * threads >= parts.packs) break;
      float values[Parts::kCount];
#pragma unroll
      for (int i = 0; i < Parts::kCount; ++i) values[i] = Widen(units[u].values[i]);
      body->Add(values);
    }
  }
  if (parts.tail + lane < n) single(parts.tail + lane);
}

template <bool needed>
__device__ void BlockBarrier() {
  if constexpr (needed) __syncthreads();
}

// out[j] = body(row[j], j). out may begin where the row does, of a narrower type too: then numbers
// take the place of others that have been read already, by any thread, and the group must be the
// whole block.
template <int threads, typename T, typename Out, typename Body>
__device__ void MapRow(const T* row, int n, const Body& body, Out* out) {
  using Parts = RowParts<T>;
  using Unit = typename Parts::Unit;
  constexpr bool kNarrows = sizeof(Out) < sizeof(T);
  const Parts parts(row, n);
  const int lane = threadIdx.x % threads;
  const auto single = [&](int column, int end) {
    const float value = column < end ? Widen(row[column]) : 0.0f;
    BlockBarrier<kNarrows>();
    if (column < end) out[column] = Narrow<Out>(body(value, column));
  };
  single(lane, parts.head);
  const bool packed =
      reinterpret_cast<uintptr_t>(out + parts.head) % sizeof(Pack<Out, Parts::kCount>) == 0;
  const Unit* const packs = reinterpret_cast<const Unit*>(row + parts.head);
  for (int begin = 0; begin < parts.packs; begin += kUnroll * threads) {
    Unit units[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int pack = begin + u * threads + lane;
      if (pack < parts.packs) units[u] = packs[pack];
    }
    BlockBarrier<kNarrows>();
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int pack = begin + u * threads + lane;
      if (pack >= parts.packs) break;
      const int column = parts.head + pack * Parts::kCount;
      float values[Parts::kCount];
#pragma unroll
      for (int i = 0; i < Parts::kCount; ++i) {
        values[i] = body(Widen(units[u].values[i]), column + i);
      }
      if (packed) {
        StorePack<Parts::kCount>(values, out + column);
      } else {
#pragma unroll
        for (int i = 0; i < Parts::kCount; ++i) out[column + i] = Narrow<Out>(values[i]);
      }
    }
  }
  single(parts.tail + lane, n);
}

template <int threads, typename T>
__device__ void ClearRow(T* row, int n) {
  using Parts = RowParts<T>;
  const Parts parts(row, n);
  const int lane = threadIdx.x % threads;
  if (lane < parts.head) row[lane] = T{};
  auto* const packs = reinterpret_cast<typename Parts::Unit*>(row + parts.head);
  for (int i = lane; i < parts.packs; i += threads) packs[i] = {};
  if (parts.tail + lane < n) row[parts.tail + lane] = T{};
}

// e^x for x that is not positive. The difference of two logits is exact, or as good as: its error
// is that of the product, x / 2^24.
__device__ inline float Exp(float x) { return PowerOfTwo(kLog2E * x); }

// Sums over a row that its loss is made of, in one pass: the largest logit changes on the way.
class LogitSums {
 public:
  __device__ explicit LogitSums(float label_logit) : label_logit_(label_logit) {}

  template <int count>
  __device__ void Add(const float (&logits)[count]) {
    float most = logits[0];
#pragma unroll
    for (int i = 1; i < count; ++i) most = fmaxf(most, logits[i]);
    if (most > top_) {
      exp_sum_ *= Exp(top_ - most);
      top_ = most;
    }
#pragma unroll
    for (int i = 0; i < count; ++i) {
      exp_sum_ += Exp(logits[i] - top_);
      above_label_ += logits[i] - label_logit_;
    }
  }

  template <int threads>
  __device__ void SumOverGroup() {
    const float top = GroupMax<threads>(top_);
    exp_sum_ = GroupSum<threads>(exp_sum_ * Exp(top_ - top));
    above_label_ = GroupSum<threads>(above_label_);
    top_ = top;
  }

  // softmax(x) = exp(x - top) / exp_sum
  __device__ float top() const { return top_; }
  __device__ float exp_sum() const { return exp_sum_; }

  __device__ double NegativeLogLikelihood() const {
    return log(static_cast<double>(exp_sum_)) + (static_cast<double>(top_) - label_logit_);
  }
  // The expectation of a logit is the label's and what others are above it.
  __device__ double Loss(const SmoothedLabel& target) const {
    const double loss = NegativeLogLikelihood() - target.entropy;
    // Or 0 * infinity would be NaN.
    return target.other > 0.0 ? loss - target.other * above_label_ : loss;
  }

 private:
  const float label_logit_;
  float top_ = -FLT_MAX;  // finite, so that logits of minus infinity are below it
  float exp_sum_ = 0.0f;
  float above_label_ = 0.0f;
};

// dloss * (softmax - target) + dnll * (softmax - one-hot)
class LogitGradient {
 public:
  __device__ LogitGradient(const SmoothedLabel& target, int label, float top, float exp_sum,
                           float dloss, float dnll)
      : label_(label),
        top_(top),
        scale_((dloss + dnll) / exp_sum),
        at_label_(dloss * static_cast<float>(target.confidence) + dnll),
        at_other_(dloss * static_cast<float>(target.other)) {}

  __device__ float operator()(float logit, int column) const {
    return scale_ * Exp(logit - top_) - (column == label_ ? at_label_ : at_other_);
  }

 private:
  const int label_;
  const float top_, scale_, at_label_, at_other_;
};

// Columns are ints.
inline void CheckVocabulary(int64_t vocab_size) {
  if (vocab_size > INT32_MAX) {
    throw std::invalid_argument("a vocabulary has at most " + std::to_string(INT32_MAX) +
                                " words, got " + std::to_string(vocab_size));
  }
}

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_LOGIT_ROW_CU_H_
