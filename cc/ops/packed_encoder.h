#ifndef TF_LS_CC_OPS_PACKED_ENCODER_H_
#define TF_LS_CC_OPS_PACKED_ENCODER_H_

#include "cc/layers/encoder_launcher.h"
#include "cc/ops/packed_stack.h"

namespace tf_ls {

// An encoder, its weights prepared for products of one type.
template <typename Device>
class PackedEncoder : public PackedStack<Device> {
 public:
  static constexpr char kName[] = "encoder";

  // Of which many threads may make use.
  EncoderLauncher<Device>& launcher() const { return launcher_; }

 private:
  mutable EncoderLauncher<Device> launcher_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_PACKED_ENCODER_H_
