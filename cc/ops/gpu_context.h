#ifndef TF_LS_CC_OPS_GPU_CONTEXT_H_
#define TF_LS_CC_OPS_GPU_CONTEXT_H_

#include <functional>
#include <initializer_list>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"
#include "cc/core/gpu.h"
#include "cc/ops/device_context.h"

namespace tf_ls {

// The GPU that an operation runs on: TensorFlow's stream, its memory, and its switch for TF32.
// Everything runs in the stream's order, so memory that is given back here may be given to who
// comes next in it.
template <>
class DeviceContext<Gpu> {
 public:
  DeviceContext(tensorflow::OpKernelContext* context, size_t expected_scratch_bytes);

  const Gpu& device() const { return gpu_; }
  size_t scratch_bytes() const { return arena_.most(); }

  const float* Float(const tensorflow::Tensor& tensor, Arena* memory = nullptr);
  template <typename T>
  const T* Read(const tensorflow::Tensor& tensor) {
    return static_cast<const T*>(tensor.data());
  }
  template <typename T>
  T* Write(tensorflow::Tensor* tensor) {
    return static_cast<T*>(tensor->data());
  }
  void Finish();

  template <typename T>
  size_t PreparedBytes(const std::vector<WeightPiece>& weights) const;
  template <typename T>
  void PrepareWeights(const std::vector<WeightPiece>& weights, void* memory);
  template <typename T>
  void UsePrepared(const std::vector<WeightPiece>& weights, const void* memory);

  static constexpr int64_t kRowMultiple = 64;

  using LoopWeights = WeightCasts;
  template <typename T>
  static bool PreparesFrom(tensorflow::DataType type);
  template <typename T>
  LoopWeights PrepareLoop(const std::vector<WeightPiece>& weights, Arena* memory) const;
  void Use(const LoopWeights& weights) { weight_casts_ = weights; }
  void BeginLoop() {}

  void Bring(std::initializer_list<HostNumbers> numbers, Arena* memory = nullptr);
  void Copy(const void* from, size_t bytes, void* to);
  void Clear(void* to, size_t bytes);

 private:
  TensorFlowArena arena_;
  WeightCasts weight_casts_;
  const Gpu gpu_;
  std::vector<std::function<void()>> unfinished_;
};

// Where to write float32 for a tensor that may be of another type (a gradient of half weights).
template <>
float* DeviceContext<Gpu>::Write<float>(tensorflow::Tensor* tensor);

template <typename TensorType>
struct ComputeType<Gpu, TensorType> {
  using type = float;
};
template <>
struct ComputeType<Gpu, Eigen::half> {
  using type = float16;
};
template <>
struct ComputeType<Gpu, tensorflow::bfloat16> {
  using type = bfloat16;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_GPU_CONTEXT_H_
