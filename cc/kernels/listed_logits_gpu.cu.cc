#include "cc/kernels/gpu_primitives.cu.h"
#include "cc/kernels/listed_logits.h"

namespace tf_ls {
namespace {

constexpr int kListThreads = 64;
constexpr int kRowThreads = 256;

// Where the logit of a row's token is; null if it is not in the piece.
__device__ float* Find(const LogitPiece& piece, int64_t row, int32_t token) {
  const int64_t column = token - piece.first;
  if (column < 0 || column >= piece.count) return nullptr;
  return piece.data + row * piece.stride + column;
}

struct Penalize {
  __device__ float operator()(float x) const { return x > 0.0f ? x / penalty : x * penalty; }
  const float penalty;
};

struct Exclude {
  __device__ float operator()(float) const { return -INFINITY; }
};

// A block goes through the list of one row.
template <typename Change>
__global__ void __launch_bounds__(kListThreads)
    ChangeListed(const LogitPiece piece, const TokenLists lists, const Change change) {
  const int64_t row = blockIdx.x;
  const int32_t end = lists.ends[row];
  for (int32_t i = lists.begins[row] + threadIdx.x; i < end; i += kListThreads) {
    float* const logit = Find(piece, row, lists.tokens[i]);
    if (logit != nullptr) *logit = change(*logit);
  }
}

template <typename Change>
void Launch(const Gpu& gpu, const LogitPiece& piece, const TokenLists& lists,
            const Change& change) {
  if (piece.rows == 0) return;
  ChangeListed<<<gpu::Blocks(piece.rows, 1), kListThreads, 0, gpu.stream>>>(piece, lists, change);
  gpu::CheckLaunch();
}

__global__ void __launch_bounds__(kRowThreads)
    Gather(const LogitPiece piece, const int32_t* tokens, float* gathered) {
  const int64_t row = blockIdx.x * int64_t{kRowThreads} + threadIdx.x;
  if (row >= piece.rows) return;
  const float* const logit = Find(piece, row, tokens[row]);
  if (logit != nullptr) gathered[row] = *logit;
}

}  // namespace

void PenalizeRepetition(const Gpu& gpu, const LogitPiece& piece, const TokenLists& lists,
                        float penalty) {
  Launch(gpu, piece, lists, Penalize{penalty});
}

// (A list may have a token twice: both write the same.)
void ExcludeTokens(const Gpu& gpu, const LogitPiece& piece, const TokenLists& lists) {
  Launch(gpu, piece, lists, Exclude{});
}

void GatherLogits(const Gpu& gpu, const LogitPiece& piece, const int32_t* tokens, float* gathered) {
  if (piece.rows == 0) return;
  Gather<<<gpu::Blocks(piece.rows, kRowThreads), kRowThreads, 0, gpu.stream>>>(piece, tokens,
                                                                               gathered);
  gpu::CheckLaunch();
}

}  // namespace tf_ls
