#include "cc/ops/gpu_context.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "cc/kernels/cast_numbers.h"
#include "cc/kernels/cast_weights.h"
#include "cc/kernels/check_cuda.h"
#include "tensorflow/core/platform/tensor_float_32_utils.h"
#include "xla/stream_executor/stream.h"

namespace tf_ls {
namespace {

using tensorflow::Tensor;

CUstream_st* StreamOf(tensorflow::OpKernelContext* context) {
  return static_cast<CUstream_st*>(
      context->op_device_context()->stream()->platform_specific_handle().stream);
}

}  // namespace

DeviceContext<Gpu>::DeviceContext(tensorflow::OpKernelContext* context,
                                  size_t expected_scratch_bytes)
    : arena_(context, expected_scratch_bytes),
      gpu_{StreamOf(context), &arena_, tensorflow::tensor_float_32_execution_enabled(),
           &weight_casts_} {}

const float* DeviceContext<Gpu>::Float(const Tensor& tensor, Arena* memory) {
  if (tensor.dtype() == tensorflow::DT_FLOAT) return static_cast<const float*>(tensor.data());
  const int64_t count = tensor.NumElements();
  float* const wide = (memory == nullptr ? &arena_ : memory)->Allocate<float>(count);
  if (tensor.dtype() == tensorflow::DT_HALF) {
    CastNumbers(gpu_, static_cast<const float16*>(tensor.data()), count, wide);
  } else {
    CastNumbers(gpu_, static_cast<const bfloat16*>(tensor.data()), count, wide);
  }
  return wide;
}

template <>
float* DeviceContext<Gpu>::Write<float>(Tensor* tensor) {
  if (tensor->dtype() == tensorflow::DT_FLOAT) return static_cast<float*>(tensor->data());
  const int64_t count = tensor->NumElements();
  float* const wide = arena_.Allocate<float>(count);
  unfinished_.push_back([this, tensor, count, wide] {
    if (tensor->dtype() == tensorflow::DT_HALF) {
      CastNumbers(gpu_, wide, count, static_cast<float16*>(tensor->data()));
    } else {
      CastNumbers(gpu_, wide, count, static_cast<bfloat16*>(tensor->data()));
    }
  });
  return wide;
}

void DeviceContext<Gpu>::Finish() {
  for (const auto& finish : unfinished_) finish();
  unfinished_.clear();
}

template <typename T>
size_t DeviceContext<Gpu>::PreparedBytes(const std::vector<WeightPiece>& weights) const {
  if constexpr (std::is_same<T, float>::value) return 0;
  return PlaceCasts<T>(weights, nullptr, nullptr);
}

template <typename T>
void DeviceContext<Gpu>::PrepareWeights(const std::vector<WeightPiece>& weights, void* memory) {
  if constexpr (!std::is_same<T, float>::value) CastWeights<T>(gpu_, weights, memory);
  UsePrepared<T>(weights, memory);
}

template <typename T>
void DeviceContext<Gpu>::UsePrepared(const std::vector<WeightPiece>& weights, const void* memory) {
  if constexpr (!std::is_same<T, float>::value) PlaceCasts<T>(weights, memory, &weight_casts_);
}

template <typename T>
bool DeviceContext<Gpu>::PreparesFrom(tensorflow::DataType type) {
  if constexpr (std::is_same<T, float16>::value) return type == tensorflow::DT_HALF;
  if constexpr (std::is_same<T, bfloat16>::value) return type == tensorflow::DT_BFLOAT16;
  return false;
}

template <typename T>
WeightCasts DeviceContext<Gpu>::PrepareLoop(const std::vector<WeightPiece>& weights,
                                            Arena* memory) const {
  WeightCasts casts;
  void* const place = memory->Allocate<unsigned char>(PlaceCasts<T>(weights, nullptr, nullptr));
  CastWeights<T>(gpu_, weights, place);
  PlaceCasts<T>(weights, place, &casts);
  return casts;
}

template size_t DeviceContext<Gpu>::PreparedBytes<float>(const std::vector<WeightPiece>&) const;
template void DeviceContext<Gpu>::PrepareWeights<float>(const std::vector<WeightPiece>&, void*);
template void DeviceContext<Gpu>::UsePrepared<float>(const std::vector<WeightPiece>&, const void*);
template bool DeviceContext<Gpu>::PreparesFrom<float>(tensorflow::DataType);
template WeightCasts DeviceContext<Gpu>::PrepareLoop<float>(const std::vector<WeightPiece>&,
                                                            Arena*) const;
template size_t DeviceContext<Gpu>::PreparedBytes<float16>(const std::vector<WeightPiece>&) const;
template void DeviceContext<Gpu>::PrepareWeights<float16>(const std::vector<WeightPiece>&, void*);
template void DeviceContext<Gpu>::UsePrepared<float16>(const std::vector<WeightPiece>&,
                                                       const void*);
template bool DeviceContext<Gpu>::PreparesFrom<float16>(tensorflow::DataType);
template WeightCasts DeviceContext<Gpu>::PrepareLoop<float16>(const std::vector<WeightPiece>&,
                                                              Arena*) const;
template size_t DeviceContext<Gpu>::PreparedBytes<bfloat16>(const std::vector<WeightPiece>&) const;
template void DeviceContext<Gpu>::PrepareWeights<bfloat16>(const std::vector<WeightPiece>&, void*);
template void DeviceContext<Gpu>::UsePrepared<bfloat16>(const std::vector<WeightPiece>&,
                                                        const void*);
template bool DeviceContext<Gpu>::PreparesFrom<bfloat16>(tensorflow::DataType);
template WeightCasts DeviceContext<Gpu>::PrepareLoop<bfloat16>(const std::vector<WeightPiece>&,
                                                               Arena*) const;

// In one copy. From memory that is not pinned, which the driver reads before it returns: TensorFlow
// may reuse a tensor's memory as soon as the operation ends.
void DeviceContext<Gpu>::Bring(std::initializer_list<HostNumbers> numbers, Arena* memory) {
  size_t bytes = 0;
  for (const HostNumbers& part : numbers) bytes += AlignUp(part.bytes);
  if (bytes == 0) return;
  std::vector<unsigned char> host(bytes);
  unsigned char* const device =
      (memory == nullptr ? &arena_ : memory)->Allocate<unsigned char>(bytes);
  size_t start = 0;
  for (const HostNumbers& part : numbers) {
    if (part.bytes > 0) std::memcpy(host.data() + start, *part.data, part.bytes);
    *part.data = device + start;
    start += AlignUp(part.bytes);
  }
  CheckCuda(cudaMemcpyAsync(device, host.data(), bytes, cudaMemcpyHostToDevice, gpu_.stream));
}

void DeviceContext<Gpu>::Copy(const void* from, size_t bytes, void* to) {
  CheckCuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, gpu_.stream));
}

void DeviceContext<Gpu>::Clear(void* to, size_t bytes) {
  CheckCuda(cudaMemsetAsync(to, 0, bytes, gpu_.stream));
}

}  // namespace tf_ls
