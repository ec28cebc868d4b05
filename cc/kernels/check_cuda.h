#ifndef TF_LS_CC_KERNELS_CHECK_CUDA_H_
#define TF_LS_CC_KERNELS_CHECK_CUDA_H_

#include <cuda_runtime_api.h>

#include <stdexcept>

namespace tf_ls {

// For code on the host; kernels' files have gpu_primitives.cu.h.
inline void CheckCuda(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CHECK_CUDA_H_
