#ifndef TF_LS_CC_KERNELS_ACTIVATION_FUNCTIONS_H_
#define TF_LS_CC_KERNELS_ACTIVATION_FUNCTIONS_H_

#include "cc/core/host_device.h"
#include "cc/core/multiversion.h"

// The activations and their slopes in float32 on any device, whose Exp, Tanh, Sigmoid and Divide
// are `Math`.
namespace tf_ls {

// A NaN stays one.
TF_LS_HOST_DEVICE TF_LS_INLINE float Clamp(float x, float bound) {
  x = x > bound ? bound : x;
  return x < -bound ? -bound : x;
}

// erf(x): a rational function between -4 and 4, beyond which float32 knows only -1 and 1 (the
// coefficients that Eigen and XLA use).
template <typename Math>
TF_LS_HOST_DEVICE TF_LS_INLINE float Erf(float x) {
  x = Clamp(x, 4.0f);
  const float square = x * x;
  float p = -2.72614225801306e-10f;
  p = p * square + 2.77068142495902e-08f;
  p = p * square - 2.10102402082508e-06f;
  p = p * square - 5.69250639462346e-05f;
  p = p * square - 7.34990630326855e-04f;
  p = p * square - 2.95459980854025e-03f;
  p = p * square - 1.60960333262415e-02f;
  float q = -1.45660718464996e-05f;
  q = q * square - 2.13374055278905e-04f;
  q = q * square - 1.68282697438203e-03f;
  q = q * square - 7.37332916720468e-03f;
  q = q * square - 1.42647390514189e-02f;
  const float between = Math::Divide(x * p, q);
  // Exactly, whatever the division is like: 1 + erf(x) multiplies any number.
  return x >= 4.0f ? 1.0f : x <= -4.0f ? -1.0f : between;
}

struct ReluFunction {
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Value(float x) {
    return x < 0.0f ? 0.0f : x;  // a NaN stays one
  }
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};

template <typename Math>
struct TanhFunction {
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Value(float x) { return Math::Tanh(x); }
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Slope(float x) {
    const float t = Math::Tanh(x);
    return 1.0f - t * t;
  }
};

// x * (1 + tanh(z)) / 2 = x * sigmoid(2 * z), where z = sqrt(2 / pi) * (x + 0.044715 * x^3).
template <typename Math>
struct GeluFunction {
  static constexpr float kLinear = 2.0f * 0.7978845608f;
  static constexpr float kCubic = kLinear * 0.044715f;

  TF_LS_HOST_DEVICE static TF_LS_INLINE float Gate(float x) {
    return Math::Sigmoid(x * (kLinear + kCubic * (x * x)));
  }
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Value(float x) { return x * Gate(x); }
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Slope(float x) {
    x = Clamp(x, 10.0f);  // where the slope is 0 or 1 in float32, and before anything overflows
    const float gate = Gate(x);
    return gate + x * gate * (1.0f - gate) * (kLinear + 3.0f * kCubic * (x * x));
  }
};

template <typename Math>
struct GeluErfFunction {
  static constexpr float kSqrtHalf = 0.7071067812f;
  static constexpr float kInverseSqrt2Pi = 0.3989422804f;

  TF_LS_HOST_DEVICE static TF_LS_INLINE float Value(float x) {
    return 0.5f * x * (1.0f + Erf<Math>(x * kSqrtHalf));
  }
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Slope(float x) {
    x = Clamp(x, 15.0f);  // likewise
    return 0.5f * (1.0f + Erf<Math>(x * kSqrtHalf)) +
           x * kInverseSqrt2Pi * Math::Exp(-0.5f * x * x);
  }
};

// x * sigmoid(x).
template <typename Math>
struct SiluFunction {
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Value(float x) { return x * Math::Sigmoid(x); }
  TF_LS_HOST_DEVICE static TF_LS_INLINE float Slope(float x) {
    x = Clamp(x, 30.0f);  // likewise
    const float gate = Math::Sigmoid(x);
    return gate + x * gate * (1.0f - gate);
  }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ACTIVATION_FUNCTIONS_H_
