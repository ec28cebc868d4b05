#ifndef TF_LS_CC_TESTING_REFERENCE_ACTIVATION_H_
#define TF_LS_CC_TESTING_REFERENCE_ACTIVATION_H_

#include <algorithm>
#include <cmath>

#include "cc/kernels/activation_kind.h"

namespace tf_ls {
namespace test {

// The normal distribution's.
inline double Phi(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }

inline double ActivationValue(Activation kind, double x) {
  switch (kind) {
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kGelu: {
      const double inner = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
      return 0.5 * x * (1.0 + std::tanh(inner));
    }
    case Activation::kGeluErf:
      return x * Phi(x);
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
  }
  return 0.0;
}

inline double ActivationSlope(Activation kind, double x) {
  switch (kind) {
    case Activation::kRelu:
      return x > 0.0 ? 1.0 : 0.0;
    case Activation::kTanh:
      return 1.0 - std::tanh(x) * std::tanh(x);
    case Activation::kGelu: {
      const double t = std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x));
      const double inner_slope = std::sqrt(2.0 / M_PI) * (1.0 + 3.0 * 0.044715 * x * x);
      return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner_slope;
    }
    case Activation::kGeluErf:
      return Phi(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * M_PI);
    case Activation::kSilu: {
      const double gate = 1.0 / (1.0 + std::exp(-x));
      return gate + x * gate * (1.0 - gate);
    }
  }
  return 0.0;
}

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_REFERENCE_ACTIVATION_H_
