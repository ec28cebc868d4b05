#ifndef TF_LS_CC_KERNELS_HOST_COPY_H_
#define TF_LS_CC_KERNELS_HOST_COPY_H_

#include <cstddef>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// Copies bytes of host memory to the device's, in the stream's order. Host memory that is pinned
// may not change before the device has been waited for; other memory may, at once.
void CopyToDevice(const Cpu& cpu, const void* host, size_t bytes, void* device);
void CopyToDevice(const Gpu& gpu, const void* host, size_t bytes, void* device);

// Copies bytes of the device's memory to the host's, and waits for them, and so for all that was
// asked of the device before.
void CopyToHost(const Cpu& cpu, const void* device, size_t bytes, void* host);
void CopyToHost(const Gpu& gpu, const void* device, size_t bytes, void* host);

// Fills the device's memory with a byte.
void FillBytes(const Cpu& cpu, void* device, int byte, size_t bytes);
void FillBytes(const Gpu& gpu, void* device, int byte, size_t bytes);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_HOST_COPY_H_
