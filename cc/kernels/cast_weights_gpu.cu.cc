#include <algorithm>

#include "cc/kernels/cast_weights.h"
#include "cc/kernels/dequantize.h"
#include "cc/kernels/gpu_primitives.cu.h"

namespace tf_ls {
namespace {

// As many as go with a launch; a decoder layer has 20.
constexpr int kMostPieces = 24;
constexpr int kThreads = 256;
constexpr int kPack = 4;
constexpr int64_t kChunk = kThreads * kPack * 4;  // numbers a block casts

template <typename T>
struct Pieces {
  const float* from[kMostPieces];
  T* to[kMostPieces];
  int64_t count[kMostPieces];
  int first_block[kMostPieces + 1];
  int pieces;
};

template <typename T>
__global__ void __launch_bounds__(kThreads) Cast(Pieces<T> all) {
  int piece = 0;
  while (static_cast<int>(blockIdx.x) >= all.first_block[piece + 1]) ++piece;
  const float* const from = all.from[piece];
  T* const to = all.to[piece];
  const int64_t begin = (blockIdx.x - all.first_block[piece]) * kChunk;
  const int64_t end = min(all.count[piece], begin + kChunk);
  // Copies begin on a cache line; weights are TensorFlow's, or a test's.
  const bool aligned = reinterpret_cast<uintptr_t>(from) % (kPack * sizeof(float)) == 0;
  const int64_t packed = aligned ? begin + (end - begin) / kPack * kPack : begin;
  for (int64_t i = begin + threadIdx.x * kPack; i < packed; i += kThreads * kPack) {
    float values[kPack];
    gpu::LoadPack<kPack>(from + i, values);
    gpu::StorePack<kPack>(values, to + i);
  }
  for (int64_t i = packed + threadIdx.x; i < end; i += kThreads) to[i] = gpu::Narrow<T>(from[i]);
}

}  // namespace

template <typename T>
void CastWeights(const Gpu& gpu, const std::vector<WeightPiece>& all_weights, void* memory) {
  struct Copy {
    const WeightPiece* weight;
    T* to;
  };
  BufferCutter cutter(memory);
  std::vector<Copy> copies;
  for (const WeightPiece& weight : all_weights) {
    if (std::holds_alternative<const T*>(weight.numbers)) continue;
    T* const to = cutter.Cut<T>(weight.count());
    if (const auto* const int8 = std::get_if<Int8Numbers>(&weight.numbers)) {
      Dequantize(gpu, *int8, weight.rows, weight.columns, weight.transposed, to);
    } else {
      copies.push_back({&weight, to});
    }
  }
  for (size_t first = 0; first < copies.size(); first += kMostPieces) {
    Pieces<T> all;
    all.pieces = static_cast<int>(std::min<size_t>(kMostPieces, copies.size() - first));
    all.first_block[0] = 0;
    for (int i = 0; i < all.pieces; ++i) {
      const WeightPiece& weight = *copies[first + i].weight;
      all.from[i] = std::get<const float*>(weight.numbers);
      all.to[i] = copies[first + i].to;
      all.count[i] = weight.count();
      all.first_block[i + 1] = all.first_block[i] + gpu::Blocks(weight.count(), kChunk);
    }
    const int blocks = all.first_block[all.pieces];
    if (blocks == 0) continue;
    Cast<T><<<blocks, kThreads, 0, gpu.stream>>>(all);
    gpu::CheckLaunch();
  }
}

template void CastWeights<float>(const Gpu&, const std::vector<WeightPiece>&, void*);
template void CastWeights<float16>(const Gpu&, const std::vector<WeightPiece>&, void*);
template void CastWeights<bfloat16>(const Gpu&, const std::vector<WeightPiece>&, void*);

}  // namespace tf_ls
