#ifndef TF_LS_CC_TESTING_DEVICE_RAGGED_H_
#define TF_LS_CC_TESTING_DEVICE_RAGGED_H_

#include <cstdint>
#include <vector>

#include "cc/kernels/attention.h"
#include "cc/testing/devices.h"
#include "cc/testing/ragged.h"

namespace tf_ls {
namespace test {

// Ragged in the memory of a device.
template <typename Device>
class DeviceRagged {
 public:
  explicit DeviceRagged(const Ragged& ragged) : DeviceRagged(ragged.view()) {}

  Sentences view() const { return {offsets_.data(), lengths_.data(), count_, rows_}; }

 private:
  template <typename T>
  using Numbers = typename Testing<Device>::template Numbers<T>;

  explicit DeviceRagged(const Sentences& host)
      : offsets_(std::vector<int32_t>(host.offsets, host.offsets + host.count + 1)),
        lengths_(std::vector<int32_t>(host.lengths, host.lengths + host.count)),
        count_(host.count),
        rows_(host.rows) {}

  Numbers<int32_t> offsets_;
  Numbers<int32_t> lengths_;
  int64_t count_;
  int64_t rows_;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_DEVICE_RAGGED_H_
