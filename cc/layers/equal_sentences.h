#ifndef TF_LS_CC_LAYERS_EQUAL_SENTENCES_H_
#define TF_LS_CC_LAYERS_EQUAL_SENTENCES_H_

#include <cstdint>

#include "cc/kernels/attention.h"
#include "cc/kernels/equal_offsets.h"

namespace tf_ls {

// Sentences of equal length, one behind the other, in the device's memory: its arena's.
template <typename Device>
class EqualSentences {
 public:
  EqualSentences(const Device& device, int64_t count, int64_t length)
      : offsets_(device.arena->template Allocate<int32_t>(count + 1)),
        lengths_(device.arena->template Allocate<int32_t>(count)),
        count_(count),
        length_(length) {
    EqualOffsets(device, count, length, offsets_, lengths_);
  }
  Sentences view() const { return {offsets_, lengths_, count_, count_ * length_}; }

 private:
  int32_t* const offsets_;
  int32_t* const lengths_;
  const int64_t count_;
  const int64_t length_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_EQUAL_SENTENCES_H_
