#ifndef TF_LS_CC_KERNELS_LOG_ADD_EXP_H_
#define TF_LS_CC_KERNELS_LOG_ADD_EXP_H_

#include <cmath>

#include "cc/core/host_device.h"

namespace tf_ls {

// log(exp(a) + exp(b)); minus infinity is the logarithm of nothing.
TF_LS_HOST_DEVICE inline double LogAddExp(double a, double b) {
  const double most = a < b ? b : a;
  const double least = a < b ? a : b;
  return least == -INFINITY ? most : most + std::log1p(std::exp(least - most));
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_LOG_ADD_EXP_H_
