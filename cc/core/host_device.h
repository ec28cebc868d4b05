#ifndef TF_LS_CC_CORE_HOST_DEVICE_H_
#define TF_LS_CC_CORE_HOST_DEVICE_H_

// Marks what CUDA code calls on the GPU too. (A function attribute cannot come from a template.)
#ifdef __CUDACC__
#define TF_LS_HOST_DEVICE __host__ __device__
#else
#define TF_LS_HOST_DEVICE
#endif

#endif  // TF_LS_CC_CORE_HOST_DEVICE_H_
