#include <cstring>

#include "cc/kernels/host_copy.h"

namespace tf_ls {

void CopyToDevice(const Cpu& /*cpu*/, const void* host, size_t bytes, void* device) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void CopyToHost(const Cpu& /*cpu*/, const void* device, size_t bytes, void* host) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

void FillBytes(const Cpu& /*cpu*/, void* device, int byte, size_t bytes) {
  if (bytes > 0) std::memset(device, byte, bytes);
}

}  // namespace tf_ls
