#ifndef TF_LS_CC_LAYERS_EQUAL_SENTENCES_H_
#define TF_LS_CC_LAYERS_EQUAL_SENTENCES_H_

#include <cstdint>
#include <vector>

#include "cc/kernels/attention.h"

namespace tf_ls {

// Sentences of equal length, one behind the other.
class EqualSentences {
 public:
  EqualSentences(int64_t count, int64_t length)
      : offsets_(count + 1), lengths_(count, length), count_(count) {
    for (int64_t i = 0; i <= count; ++i) offsets_[i] = i * length;
  }
  Sentences view() const { return {offsets_.data(), lengths_.data(), count_, offsets_.back()}; }

 private:
  std::vector<int32_t> offsets_;
  std::vector<int32_t> lengths_;
  const int64_t count_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_EQUAL_SENTENCES_H_
