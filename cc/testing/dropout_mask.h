#ifndef TF_LS_CC_TESTING_DROPOUT_MASK_H_
#define TF_LS_CC_TESTING_DROPOUT_MASK_H_

#include <cstdint>
#include <vector>

#include "cc/core/philox.h"

namespace tf_ls {
namespace test {

// What dropout multiplies element (row, column) by, one element at a time as cc/core/philox.h
// defines it.
inline double DropoutFactor(const Dropout& dropout, uint32_t row, uint32_t lane, int64_t column) {
  if (!dropout.active()) return 1.0;
  uint32_t counter[4] = {static_cast<uint32_t>(column / 4), row, lane,
                         static_cast<uint32_t>(dropout.site)};
  Philox::Generate(dropout.seed, counter);
  const double uniform = counter[column % 4] / 4294967296.0;
  return uniform < dropout.rate ? 0.0 : 1.0 / (1.0 - dropout.rate);
}

// The same for rows of n numbers.
inline std::vector<double> DropoutFactors(const Dropout& dropout, int64_t rows, int64_t n) {
  std::vector<double> factors;
  for (int64_t i = 0; i < rows * n; ++i) {
    factors.push_back(DropoutFactor(dropout, i / n, 0, i % n));
  }
  return factors;
}

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_DROPOUT_MASK_H_
