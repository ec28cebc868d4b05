#ifndef TF_LS_CC_KERNELS_ACTIVATION_KIND_H_
#define TF_LS_CC_KERNELS_ACTIVATION_KIND_H_

namespace tf_ls {

// kGelu is the tanh form, kGeluErf the exact one; kSilu is x * sigmoid(x), also known as swish.
enum class Activation { kRelu, kTanh, kGelu, kGeluErf, kSilu };

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ACTIVATION_KIND_H_
