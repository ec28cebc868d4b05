#ifndef TF_LS_CC_OPS_CPU_CONTEXT_H_
#define TF_LS_CC_OPS_CPU_CONTEXT_H_

#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/work_crew.h"
#include "cc/kernels/packed_weights.h"
#include "cc/ops/device_context.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/threadpool.h"

namespace tf_ls {

// TensorFlow's intra-op threads. (Not by their own ParallelFor, which waits for all threads that it
// has woken, and expects that to take as long as 100,000 cycles of work.)
class TensorFlowThreads : public Threads {
 public:
  explicit TensorFlowThreads(tensorflow::OpKernelContext* context)
      : workers_(context->device()->tensorflow_cpu_worker_threads()->workers) {}

  // From now on threads that have helped stay for a while.
  void FormCrew();

 protected:
  void Share(int64_t total, int64_t cost,
             const std::function<void(int64_t, int64_t)>& work) override;

 private:
  tensorflow::thread::ThreadPool* const workers_;
  std::unique_ptr<WorkCrew> crew_;
};

// The CPU, with the casts between TensorFlow's types and those that layers compute in: float16 is
// computed in float32.
template <>
class DeviceContext<Cpu> {
 public:
  DeviceContext(tensorflow::OpKernelContext* context, size_t expected_scratch_bytes)
      : threads_(context),
        arena_(context, expected_scratch_bytes),
        cpu_{&threads_, &arena_, &packed_weights_} {}

  const Cpu& device() const { return cpu_; }
  size_t scratch_bytes() const { return arena_.most(); }

  const float* Float(const tensorflow::Tensor& tensor, Arena* memory = nullptr);
  template <typename T>
  const T* Read(const tensorflow::Tensor& tensor);
  template <typename T>
  T* Write(tensorflow::Tensor* tensor);
  void Finish();

  // Products of many rows lay their weights out themselves: only a loop's are prepared.
  template <typename T>
  size_t PreparedBytes(const std::vector<WeightPiece>& /*weights*/) const {
    return 0;
  }
  template <typename T>
  void PrepareWeights(const std::vector<WeightPiece>& /*weights*/, void* /*memory*/) {}
  template <typename T>
  void UsePrepared(const std::vector<WeightPiece>& /*weights*/, const void* /*memory*/) {}

  // Packed weights are multiplied by any number of rows, but each number is compiled for.
  static constexpr int64_t kRowMultiple = 16;

  using LoopWeights = PackedWeights;
  template <typename T>
  static bool PreparesFrom(tensorflow::DataType /*type*/) {
    return true;
  }
  template <typename T>
  LoopWeights PrepareLoop(const std::vector<WeightPiece>& weights, Arena* memory) const;
  void Use(const LoopWeights& weights) { packed_weights_ = weights; }
  void BeginLoop() { threads_.FormCrew(); }

  // There is but one memory.
  void Bring(std::initializer_list<HostNumbers> /*numbers*/, Arena* /*memory*/ = nullptr) {}
  void Copy(const void* from, size_t bytes, void* to);
  void Clear(void* to, size_t bytes);

 private:
  TensorFlowThreads threads_;
  TensorFlowArena arena_;
  PackedWeights packed_weights_;
  const Cpu cpu_;
  std::vector<std::function<void()>> unfinished_;
};

template <typename TensorType>
struct ComputeType<Cpu, TensorType> {
  using type = float;
};
template <>
struct ComputeType<Cpu, tensorflow::bfloat16> {
  using type = bfloat16;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_CPU_CONTEXT_H_
