#ifndef TF_LS_CC_TESTING_CLOSENESS_H_
#define TF_LS_CC_TESTING_CLOSENESS_H_

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace test {

// ||a - b|| / ||b||; ||a|| where b is zero. Infinite where one of them has a NaN.
template <typename A, typename B>
double RelativeError(const std::vector<A>& a, const std::vector<B>& b) {
  double difference = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (Value(a[i]) - Value(b[i])) * (Value(a[i]) - Value(b[i]));
    norm += Value(b[i]) * Value(b[i]);
  }
  const double error = std::sqrt(norm > 0.0 ? difference / norm : difference);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

// What computing in float32 and rounding the result to T once may cost.
template <typename T>
constexpr double kTolerance = std::is_same<T, float>::value     ? 2e-6
                              : std::is_same<T, float16>::value ? 5e-4
                                                                : 4e-3;

template <typename A, typename B>
::testing::AssertionResult Close(const std::vector<A>& actual, const std::vector<B>& expected,
                                 double tolerance = kTolerance<A>) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " numbers, not " << expected.size();
  }
  const double error = RelativeError(actual, expected);
  if (error <= tolerance) return ::testing::AssertionSuccess();
  size_t worst = 0;
  double largest = -1.0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::fabs(Value(actual[i]) - Value(expected[i]));
    if (difference <= largest) continue;
    worst = i;
    largest = difference;
    if (std::isnan(difference)) break;
  }
  return ::testing::AssertionFailure()
         << "relative error " << error << " > " << tolerance << "; worst is number " << worst
         << " of " << actual.size() << ": " << Value(actual[worst]) << " instead of "
         << Value(expected[worst]);
}

// Bit for bit.
template <typename T>
::testing::AssertionResult Identical(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) {
    return ::testing::AssertionFailure() << a.size() << " numbers, not " << b.size();
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) == 0) continue;
    return ::testing::AssertionFailure()
           << "number " << i << " of " << a.size() << ": " << Value(a[i]) << " and " << Value(b[i]);
  }
  return ::testing::AssertionSuccess();
}

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_CLOSENESS_H_
