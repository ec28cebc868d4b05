#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cc/core/float16.h"
#include "cc/kernels/cast_weights.h"
#include "cc/kernels/column_sum.h"
#include "cc/kernels/cublaslt_product.h"
#include "cc/kernels/gpu_logit_row.cu.h"
#include "cc/kernels/projected_cross_entropy.h"
#include "cc/kernels/scale.h"

namespace tf_ls {
namespace {

// Rows of logits that are there at once: enough for products at full speed, and 256 MB or, if the
// vocabulary is so large that this would be less, kRowMultiple.
constexpr int64_t kMostRows = 2048;
constexpr int64_t kMostLogitsBytes = int64_t{256} << 20;
constexpr int64_t kRowMultiple = 64;
// Rows of logits begin at multiples of 256 bytes, or products would be slower.
constexpr int64_t kStrideMultiple = 64;

constexpr int kThreads = 256;
// Of a row of logits, which is read twice for its gradient. Blocks are so large that few run at the
// same time, or their rows would not stay in the second-level cache. (Measured on an H100, 4096 x
// 512 x 32,000 in float16: the call takes 1236 microseconds, with blocks of 512 threads 1353.)
constexpr int kRowThreads = 1024;

int64_t Divide(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t n, int64_t multiple) { return Divide(n, multiple) * multiple; }

// The loss where no row belongs, whose logits are zero; rows overwrite theirs.
__global__ void __launch_bounds__(kThreads)
    LossOfZeros(const CrossEntropyTargets targets, double chance, double entropy, float* losses,
                float* nlls) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= targets.rows) return;
  losses[i] = static_cast<float>(targets.weights[i] * (chance - entropy));
  nlls[i] = static_cast<float>(targets.weights[i] * chance);
}

// The gradients of the losses, as the caller gave them.
struct LossGradients {
  __device__ float dloss(int64_t position) const {
    return dlosses == nullptr ? 1.0f : dlosses[position];
  }
  __device__ float dnll(int64_t position) const {
    return dnlls == nullptr ? 0.0f : dnlls[position];
  }

  const float* dlosses;
  const float* dnlls;
};

// The gradient of the logits is rounded to T times a power of two, `up`, which the products with it
// take back.
struct Scaling {
  float up;
  cublaslt::AlphaOnGpu down;
};

// For float16: such that the largest gradient that a logit could have comes to stand below 2^15,
// half of what float16 holds, and what is 2^29 times smaller is still something. One block.
__global__ void __launch_bounds__(1024)
    FindScaling(const OutputProjectionShape shape, const float* weights,
                const LossGradients gradients, Scaling* scaling) {
  float most = 0.0f;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < shape.rows; i += blockDim.x) {
    const int32_t position = shape.indices[i];
    const float weight = position < 0 ? 0.0f : weights[position];
    if (weight == 0.0f) continue;
    most = fmaxf(
        most, fabsf(weight * gradients.dloss(position)) + fabsf(weight * gradients.dnll(position)));
  }
  most = gpu::GroupMax<1024>(most);
  if (threadIdx.x != 0) return;
  // Both powers are normal numbers. Of zero or infinity nothing comes that scaling could save.
  const int exponent = most > 0.0f && isfinite(most) ? min(14 - ilogbf(most), 126) : 0;
  *scaling = {ldexpf(1.0f, exponent), {ldexpf(1.0f, -exponent), 0.0f, 1.0f}};
}

// The losses of a block's row of logits [rows, stride], which then become their own gradient in
// place, as T, if that is wanted.
//
// Reads 4 * V bytes a row, and again for the gradient, from the second-level cache if it is as
// large as the rows of all blocks that run; writes sizeof(T) * V.
template <typename T, bool gradient>
__global__ void __launch_bounds__(kRowThreads)
    LossOfRows(const int32_t* indices, const CrossEntropyTargets targets,
               const SmoothedLabel target, float* logits, int64_t stride, float* losses,
               float* nlls, const LossGradients gradients, const Scaling* scaling) {
  float* const row = logits + blockIdx.x * stride;
  T* const drow = reinterpret_cast<T*>(row);
  const int n = static_cast<int>(targets.vocab_size);
  const int64_t position = indices[blockIdx.x];
  const float weight = position < 0 ? 0.0f : targets.weights[position];
  if (weight == 0.0f) {
    if constexpr (gradient) gpu::ClearRow<kRowThreads>(drow, n);
    if (position >= 0 && threadIdx.x == 0) losses[position] = nlls[position] = 0.0f;
    return;
  }
  const int label = targets.labels[position];
  gpu::LogitSums sums(row[label]);
  gpu::ReadRow<kRowThreads>(row, n, &sums);
  sums.SumOverGroup<kRowThreads>();  // a barrier, too
  if (threadIdx.x == 0) {
    losses[position] = static_cast<float>(weight * sums.Loss(target));
    nlls[position] = static_cast<float>(weight * sums.NegativeLogLikelihood());
  }
  if constexpr (gradient) {
    const float scale = scaling == nullptr ? 1.0f : scaling->up;
    const gpu::LogitGradient body(target, label, sums.top(), sums.exp_sum(),
                                  scale * (weight * gradients.dloss(position)),
                                  scale * (weight * gradients.dnll(position)));
    gpu::MapRow<kRowThreads>(row, n, body, drow);
  }
}

// sums[part, n] = the sum over the rows of each part of x[rows, n], whose rows begin `stride` apart
// at multiples of 16 bytes. A thread sums 16 bytes of columns. Reads x once.
template <typename T>
__global__ void __launch_bounds__(kThreads) SumColumns(const T* x, int64_t stride, int64_t rows,
                                                       int64_t n, int64_t part_rows, float* sums) {
  constexpr int kPack = 16 / sizeof(T);
  const int64_t column = (blockIdx.x * int64_t{kThreads} + threadIdx.x) * kPack;
  if (column >= n) return;
  const int64_t end = min(rows, (blockIdx.y + int64_t{1}) * part_rows);
  float sum[kPack] = {};
#pragma unroll 8
  for (int64_t i = blockIdx.y * part_rows; i < end; ++i) {
    float values[kPack];
    gpu::LoadPack<kPack>(x + i * stride + column, values);
#pragma unroll
    for (int j = 0; j < kPack; ++j) sum[j] += values[j];
  }
#pragma unroll
  for (int j = 0; j < kPack; ++j) {
    if (column + j < n) sums[blockIdx.y * n + column + j] = sum[j];
  }
}

// Logits of some hundred or thousand rows at a time and what is made of them.
template <typename T>
class Projector {
 public:
  Projector(const Gpu& gpu, const OutputProjectionShape& shape, const CrossEntropyTargets& targets,
            const T* x, const float* weights, const float* bias, float* losses, float* nlls,
            const ProjectionGradient* gradient)
      : gpu_(gpu),
        shape_(shape),
        targets_(targets),
        target_(targets.smoothing, shape.vocab_size),
        stride_(RoundUp(shape.vocab_size, kStrideMultiple)),
        chunk_rows_(RowsAtOnce(shape.rows, stride_)),
        x_(x),
        weights_(CastWeight<T>(gpu, weights, shape.vocab_size * shape.hidden_size)),
        bias_(bias),
        losses_(losses),
        nlls_(nlls),
        gradient_(gradient),
        logits_(gpu.arena->Allocate<float>(chunk_rows_ * stride_)) {
    if (gradient == nullptr) return;
    gradients_ = {gradient->dlosses, gradient->dnlls};
    if (std::is_same<T, float16>::value) {
      scaling_ = gpu.arena->Allocate<Scaling>(1);
      FindScaling<<<1, 1024, 0, gpu.stream>>>(shape, targets.weights, gradients_, scaling_);
      gpu::CheckLaunch();
    }
    if (gradient->dbias != nullptr) {
      bias_sums_ = gpu.arena->Allocate<float>(Divide(shape.rows, chunk_rows_) * kBiasParts *
                                              shape.vocab_size);
    }
  }

  void Run() {
    for (int64_t first = 0; first < shape_.rows; first += chunk_rows_) {
      const int64_t rows = std::min(chunk_rows_, shape_.rows - first);
      Logits(first, rows);
      if (gradient_ == nullptr) {
        Losses<false>(first, rows);
        continue;
      }
      Losses<true>(first, rows);
      InputGradient(first, rows);
      AddWeightGradient(first, rows);
      if (gradient_->dbias != nullptr) SumBiasGradient(first, rows);
    }
    if (gradient_ != nullptr && gradient_->dbias != nullptr) FinishBiasGradient();
  }

 private:
  // Parts of a chunk that are summed up by themselves, to keep a large GPU busy.
  static constexpr int64_t kBiasParts = 32;

  // As equal as possible.
  static int64_t RowsAtOnce(int64_t rows, int64_t stride) {
    const int64_t fitting =
        kMostLogitsBytes / (stride * static_cast<int64_t>(sizeof(float))) / kRowMultiple;
    const int64_t most = std::min(kMostRows, std::max<int64_t>(1, fitting) * kRowMultiple);
    return std::min(rows, RoundUp(Divide(rows, Divide(rows, most)), kRowMultiple));
  }

  const T* Gradient() const { return reinterpret_cast<const T*>(logits_); }
  int64_t GradientStride() const { return stride_ * sizeof(float) / sizeof(T); }
  const cublaslt::AlphaOnGpu* Alpha() const {
    return scaling_ == nullptr ? nullptr : &scaling_->down;
  }

  // Of the type T, with a float32 result.
  cublaslt::Product Product(int64_t m, int64_t n, int64_t k) const {
    cublaslt::Product product;
    product.type = cublaslt::kDataType<T>;
    product.result_type = cublaslt::kFloat32;
    product.m = m;
    product.n = n;
    product.k = k;
    product.tf32 = gpu_.allow_tf32 && std::is_same<T, float>::value;
    return product;
  }

  void Logits(int64_t first, int64_t rows) {
    cublaslt::Product product = Product(shape_.vocab_size, rows, shape_.hidden_size);
    product.a_transposed = true;
    product.has_bias = bias_ != nullptr;
    product.d_stride = stride_;
    cublaslt::Run(gpu_, product, weights_, x_ + first * shape_.hidden_size, bias_, logits_);
  }

  template <bool gradient>
  void Losses(int64_t first, int64_t rows) {
    LossOfRows<T, gradient><<<static_cast<unsigned>(rows), kRowThreads, 0, gpu_.stream>>>(
        shape_.indices + first, targets_, target_, logits_, stride_, losses_, nlls_, gradients_,
        scaling_);
    gpu::CheckLaunch();
  }

  void InputGradient(int64_t first, int64_t rows) {
    cublaslt::Product product = Product(shape_.hidden_size, rows, shape_.vocab_size);
    product.b_stride = GradientStride();
    cublaslt::Run(gpu_, product, weights_, Gradient(), nullptr,
                  gradient_->dx + first * shape_.hidden_size, Alpha());
  }

  void AddWeightGradient(int64_t first, int64_t rows) {
    cublaslt::Product product = Product(shape_.hidden_size, shape_.vocab_size, rows);
    product.b_transposed = true;
    product.b_stride = GradientStride();
    product.accumulate = first > 0;
    cublaslt::Run(gpu_, product, x_ + first * shape_.hidden_size, Gradient(), nullptr,
                  gradient_->dweights, Alpha());
  }

  void SumBiasGradient(int64_t first, int64_t rows) {
    constexpr int64_t kColumns = kThreads * 16 / sizeof(T);  // of a block
    const dim3 grid(gpu::Blocks(shape_.vocab_size, kColumns), kBiasParts);
    SumColumns<<<grid, kThreads, 0, gpu_.stream>>>(
        Gradient(), GradientStride(), rows, shape_.vocab_size, Divide(rows, kBiasParts),
        bias_sums_ + first / chunk_rows_ * kBiasParts * shape_.vocab_size);
    gpu::CheckLaunch();
  }

  void FinishBiasGradient() {
    float* const dbias = gradient_->dbias;
    const int64_t parts = Divide(shape_.rows, chunk_rows_) * kBiasParts;
    ColumnSums<Gpu> sums(gpu_);
    sums.Add(bias_sums_, parts, shape_.vocab_size, dbias);
    sums.Finish();
    if (scaling_ != nullptr) {
      Scale(gpu_, dbias, shape_.vocab_size, &scaling_->down.alpha, dbias);
    }
  }

  const Gpu& gpu_;
  const OutputProjectionShape& shape_;
  const CrossEntropyTargets& targets_;
  const SmoothedLabel target_;
  const int64_t stride_;      // of the logits' rows
  const int64_t chunk_rows_;  // whose logits are there at once
  const T* const x_;
  const T* const weights_;
  const float* const bias_;
  float* const losses_;
  float* const nlls_;
  const ProjectionGradient* const gradient_;
  float* const logits_;
  LossGradients gradients_ = {nullptr, nullptr};
  Scaling* scaling_ = nullptr;  // null: none
  float* bias_sums_ = nullptr;  // [chunks * kBiasParts, V]
};

void Clear(const Gpu& gpu, float* x, int64_t count) {
  gpu::Check(cudaMemsetAsync(x, 0, count * sizeof(float), gpu.stream));
}

}  // namespace

// Beside the products, 4 bytes a logit that these write (the input gradient's product and that of
// the weights read sizeof(T) of them): see LossOfRows, and SumColumns with a bias.
template <typename T>
void ProjectedCrossEntropy(const Gpu& gpu, const OutputProjectionShape& shape,
                           const CrossEntropyTargets& targets, const T* x, const float* weights,
                           const float* bias, float* losses, float* nlls,
                           const ProjectionGradient* gradient) {
  gpu::CheckVocabulary(shape.vocab_size);
  const ArenaScope scope(gpu.arena);
  if (targets.rows > 0) {
    const double chance = std::log(static_cast<double>(targets.vocab_size));
    const double entropy = SmoothedLabel(targets.smoothing, targets.vocab_size).entropy;
    LossOfZeros<<<gpu::Blocks(targets.rows, kThreads), kThreads, 0, gpu.stream>>>(
        targets, chance, entropy, losses, nlls);
    gpu::CheckLaunch();
  }
  if (shape.rows > 0) {
    Projector<T>(gpu, shape, targets, x, weights, bias, losses, nlls, gradient).Run();
  } else if (gradient != nullptr) {
    Clear(gpu, gradient->dweights, shape.vocab_size * shape.hidden_size);
    if (gradient->dbias != nullptr) Clear(gpu, gradient->dbias, shape.vocab_size);
  }
}

template void ProjectedCrossEntropy(const Gpu&, const OutputProjectionShape&,
                                    const CrossEntropyTargets&, const float*, const float*,
                                    const float*, float*, float*, const ProjectionGradient*);
template void ProjectedCrossEntropy(const Gpu&, const OutputProjectionShape&,
                                    const CrossEntropyTargets&, const float16*, const float*,
                                    const float*, float*, float*, const ProjectionGradient*);
template void ProjectedCrossEntropy(const Gpu&, const OutputProjectionShape&,
                                    const CrossEntropyTargets&, const bfloat16*, const float*,
                                    const float*, float*, float*, const ProjectionGradient*);

}  // namespace tf_ls
