#ifndef TF_LS_CC_TESTING_RAGGED_H_
#define TF_LS_CC_TESTING_RAGGED_H_

#include <cstdint>
#include <vector>

#include "cc/kernels/attention.h"

namespace tf_ls {
namespace test {

// Sentences of given numbers of rows, one behind the other.
class Ragged {
 public:
  // `lengths`: how many rows of each sentence may be attended to.
  Ragged(const std::vector<int32_t>& rows, const std::vector<int32_t>& lengths)
      : offsets_{0}, lengths_(lengths) {
    for (const int32_t count : rows) offsets_.push_back(offsets_.back() + count);
  }
  explicit Ragged(const std::vector<int32_t>& rows) : Ragged(rows, rows) {}

  // With rows behind the last sentence that belong to none.
  Ragged WithTail(int64_t rows) const {
    Ragged ragged = *this;
    ragged.tail_ = rows;
    return ragged;
  }

  Sentences view() const {
    return {offsets_.data(), lengths_.data(), static_cast<int64_t>(lengths_.size()), rows()};
  }
  int64_t rows() const { return offsets_.back() + tail_; }

 private:
  std::vector<int32_t> offsets_;
  std::vector<int32_t> lengths_;
  int64_t tail_ = 0;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_RAGGED_H_
