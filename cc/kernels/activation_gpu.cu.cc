#include "cc/kernels/activation.h"
#include "cc/kernels/activation_functions.h"
#include "cc/kernels/gpu_chunk_sum.cu.h"
#include "cc/kernels/gpu_dropout_mask.cu.h"

namespace tf_ls {
namespace {

using gpu::DropoutMask;
using gpu::PowerOfTwo;

// The special function unit's reciprocal, as exact as its power of two. Here they are factors of,
// or added to, numbers around one. CUDA's own expf and division take four times the instructions
// for what is below that, and instructions are what these kernels wait for.
__device__ float Reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

struct CudaMath {
  static constexpr float kLog2E = gpu::kLog2E;

  __device__ static float Exp(float x) { return PowerOfTwo(kLog2E * x); }
  __device__ static float Tanh(float x) { return tanhf(x); }
  __device__ static float Sigmoid(float x) {
    return Reciprocal(1.0f + PowerOfTwo(-kLog2E * x));  // of infinity: zero
  }
  __device__ static float Divide(float x, float y) { return x * Reciprocal(y); }
};

// y = mask * f(x). Reads x, writes y: 2 * rows * n * sizeof(T) bytes.
template <typename F, typename T, bool packed>
struct ActivateDrop {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ void operator()(int64_t row, int64_t column) const {
    gpu::Chunk<T, packed> chunk;
    chunk.Load(x + row * n, column, n);
#pragma unroll
    for (int i = 0; i < kCount; ++i) chunk.values[i] = F::Value(chunk.values[i]);
    mask.Multiply<kCount>(row, /*lane=*/0, column, chunk.values);
    chunk.Store(y + row * n, column, n);
  }

  const DropoutMask mask;
  const T* const x;
  const int64_t n;
  T* const y;
};

// dx = mask * dy * f'(x), y = mask * f(x). Reads x and dy, writes dx and y: 4 * rows * n *
// sizeof(T) bytes.
template <typename F, typename T, bool packed>
struct ActivateDropGradient {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ auto At(int64_t column) const {
    return [this, column](int64_t row, float* sum) {
      gpu::Chunk<T, packed> value, gradient;
      value.Load(x + row * n, column, n);
      gradient.Load(dy + row * n, column, n);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        gradient.values[i] *= F::Slope(value.values[i]);
        value.values[i] = F::Value(value.values[i]);
      }
      mask.Multiply<kCount>(row, /*lane=*/0, column, gradient.values, value.values);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum[i] += gradient.values[i];
      gradient.Store(dx + row * n, column, n);
      value.Store(y + row * n, column, n);
    };
  }

  const DropoutMask mask;
  const T* const x;
  const T* const dy;
  const int64_t n;
  T* const y;
  T* const dx;
};

// dx = scale * dy where y is above zero. Reads y and dy, writes dx: 3 * rows * n * sizeof(T) bytes.
template <typename T, bool packed>
struct ReluDropGradient {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ auto At(int64_t column) const {
    return [this, column](int64_t row, float* sum) {
      gpu::Chunk<T, packed> value, gradient;
      value.Load(y + row * n, column, n);
      gradient.Load(dy + row * n, column, n);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        gradient.values[i] *= value.values[i] > 0.0f ? scale : 0.0f;
        sum[i] += gradient.values[i];
      }
      gradient.Store(dx + row * n, column, n);
    };
  }

  const float scale;
  const T* const y;
  const T* const dy;
  const int64_t n;
  T* const dx;
};

// Calls run(the activation's function).
template <typename Run>
void ForActivation(Activation kind, const Run& run) {
  switch (kind) {
    case Activation::kRelu:
      return run(ReluFunction());
    case Activation::kTanh:
      return run(TanhFunction<CudaMath>());
    case Activation::kGelu:
      return run(GeluFunction<CudaMath>());
    case Activation::kGeluErf:
      return run(GeluErfFunction<CudaMath>());
    case Activation::kSilu:
      return run(SiluFunction<CudaMath>());
  }
}

}  // namespace

template <typename T>
void ActivationDropout(const Gpu& gpu, Activation kind, const Dropout& dropout, const T* x,
                       int64_t rows, int64_t n, T* y) {
  ForActivation(kind, [&](auto function) {
    const auto run = [&](auto packed) {
      gpu::ForEachChunk(gpu.stream, rows, n,
                        ActivateDrop<decltype(function), T, decltype(packed)::value>{
                            DropoutMask(dropout), x, n, y});
    };
    gpu::ForPacked<T>(run, n, x, y);
  });
}

template <typename T>
void ActivationDropoutGradient(const Gpu& gpu, Activation kind, const Dropout& dropout, const T* x,
                               const T* dy, int64_t rows, int64_t n, T* y, T* dx, float* dbias,
                               ColumnSums<Gpu>* sums) {
  ForActivation(kind, [&](auto function) {
    const auto run = [&](auto packed) {
      gpu::SumForEachChunk(gpu, rows, n,
                           ActivateDropGradient<decltype(function), T, decltype(packed)::value>{
                               DropoutMask(dropout), x, dy, n, y, dx},
                           dbias, sums);
    };
    gpu::ForPacked<T>(run, n, x, dy, y, dx);
  });
}

template <typename T>
void ReluDropoutGradient(const Gpu& gpu, const Dropout& dropout, const T* y, const T* dy,
                         int64_t rows, int64_t n, T* dx, float* dbias, ColumnSums<Gpu>* sums) {
  const float scale = dropout.active() ? dropout.scale() : 1.0f;
  const auto run = [&](auto packed) {
    gpu::SumForEachChunk(gpu, rows, n,
                         ReluDropGradient<T, decltype(packed)::value>{scale, y, dy, n, dx}, dbias,
                         sums);
  };
  gpu::ForPacked<T>(run, n, y, dy, dx);
}

template void ActivationDropout(const Gpu&, Activation, const Dropout&, const float*, int64_t,
                                int64_t, float*);
template void ActivationDropout(const Gpu&, Activation, const Dropout&, const float16*, int64_t,
                                int64_t, float16*);
template void ActivationDropout(const Gpu&, Activation, const Dropout&, const bfloat16*, int64_t,
                                int64_t, bfloat16*);
template void ActivationDropoutGradient(const Gpu&, Activation, const Dropout&, const float*,
                                        const float*, int64_t, int64_t, float*, float*, float*,
                                        ColumnSums<Gpu>*);
template void ReluDropoutGradient(const Gpu&, const Dropout&, const float*, const float*, int64_t,
                                  int64_t, float*, float*, ColumnSums<Gpu>*);
template void ActivationDropoutGradient(const Gpu&, Activation, const Dropout&, const float16*,
                                        const float16*, int64_t, int64_t, float16*, float16*,
                                        float*, ColumnSums<Gpu>*);
template void ReluDropoutGradient(const Gpu&, const Dropout&, const float16*, const float16*,
                                  int64_t, int64_t, float16*, float*, ColumnSums<Gpu>*);
template void ActivationDropoutGradient(const Gpu&, Activation, const Dropout&, const bfloat16*,
                                        const bfloat16*, int64_t, int64_t, bfloat16*, bfloat16*,
                                        float*, ColumnSums<Gpu>*);
template void ReluDropoutGradient(const Gpu&, const Dropout&, const bfloat16*, const bfloat16*,
                                  int64_t, int64_t, bfloat16*, float*, ColumnSums<Gpu>*);

}  // namespace tf_ls
