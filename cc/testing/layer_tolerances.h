#ifndef TF_LS_CC_TESTING_LAYER_TOLERANCES_H_
#define TF_LS_CC_TESTING_LAYER_TOLERANCES_H_

#include <type_traits>

#include "cc/core/float16.h"

namespace tf_ls {
namespace test {

// What the results of a whole layer in T may be off: the half types round between all of its steps,
// products of one row and of many may add in another order, and some gradients are small sums of
// large numbers.
template <typename T>
constexpr double kOutputTolerance = std::is_same<T, float>::value     ? 1e-5
                                    : std::is_same<T, float16>::value ? 5e-3
                                                                      : 2e-2;
template <typename T>
constexpr double kGradientTolerance = std::is_same<T, float>::value     ? 1e-5
                                      : std::is_same<T, float16>::value ? 1e-2
                                                                        : 6e-2;

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_LAYER_TOLERANCES_H_
