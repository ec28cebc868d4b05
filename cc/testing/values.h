#ifndef TF_LS_CC_TESTING_VALUES_H_
#define TF_LS_CC_TESTING_VALUES_H_

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"

namespace tf_ls {
namespace test {

inline double Value(double x) { return x; }
inline double Value(float x) { return x; }
inline double Value(float16 x) { return ToFloat(x); }
inline double Value(bfloat16 x) { return ToFloat(x); }

inline void Assign(double value, double* x) { *x = value; }
inline void Assign(double value, float* x) { *x = static_cast<float>(value); }
inline void Assign(double value, float16* x) { *x = ToFloat16(static_cast<float>(value)); }
inline void Assign(double value, bfloat16* x) { *x = ToBfloat16(static_cast<float>(value)); }

// Numbers of another type, rounded where it is narrower.
template <typename To, typename From>
std::vector<To> Convert(const std::vector<From>& from) {
  std::vector<To> to(from.size());
  for (size_t i = 0; i < from.size(); ++i) Assign(Value(from[i]), &to[i]);
  return to;
}

// Numbers spread evenly over [-limit, limit], the same for the same arguments.
template <typename T>
std::vector<T> Random(int64_t count, uint32_t seed, double limit = 1.0) {
  std::mt19937 generator(seed);
  std::vector<T> values(count);
  for (T& value : values) Assign((generator() / 2147483648.0 - 1.0) * limit, &value);
  return values;
}

// Memory that nobody has written to: a kernel must not leave any of it, nor read it.
template <typename T>
std::vector<T> Unwritten(int64_t count) {
  T nan;
  Assign(std::numeric_limits<double>::quiet_NaN(), &nan);
  return std::vector<T>(count, nan);
}

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_VALUES_H_
