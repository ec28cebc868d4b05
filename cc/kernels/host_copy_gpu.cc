#include <cuda_runtime_api.h>

#include "cc/kernels/check_cuda.h"
#include "cc/kernels/host_copy.h"

namespace tf_ls {

void CopyToDevice(const Gpu& gpu, const void* host, size_t bytes, void* device) {
  if (bytes == 0) return;
  CheckCuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, gpu.stream));
}

void CopyToHost(const Gpu& gpu, const void* device, size_t bytes, void* host) {
  if (bytes > 0) {
    CheckCuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, gpu.stream));
  }
  CheckCuda(cudaStreamSynchronize(gpu.stream));
}

void FillBytes(const Gpu& gpu, void* device, int byte, size_t bytes) {
  CheckCuda(cudaMemsetAsync(device, byte, bytes, gpu.stream));
}

}  // namespace tf_ls
