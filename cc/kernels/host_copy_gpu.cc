#include <cuda_runtime_api.h>

#include <stdexcept>

#include "cc/kernels/host_copy.h"

namespace tf_ls {
namespace {

void Check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

}  // namespace

void CopyToDevice(const Gpu& gpu, const void* host, size_t bytes, void* device) {
  Check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, gpu.stream));
}

void CopyToHost(const Gpu& gpu, const void* device, size_t bytes, void* host) {
  Check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, gpu.stream));
  Check(cudaStreamSynchronize(gpu.stream));
}

void FillBytes(const Gpu& gpu, void* device, int byte, size_t bytes) {
  Check(cudaMemsetAsync(device, byte, bytes, gpu.stream));
}

}  // namespace tf_ls
