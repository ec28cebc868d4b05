#ifndef TF_LS_CC_OPS_RESERVE_H_
#define TF_LS_CC_OPS_RESERVE_H_

#include <vector>

#include "cc/ops/checks.h"
#include "cc/ops/device_context.h"
#include "cc/ops/layer_weights.h"

namespace tf_ls {

// What the forward pass of a layer that computes in T keeps for its gradient: the layer's own, and
// behind it the weights as they were prepared for products.
template <typename T, typename Device, template <typename, typename> class Layer>
class LayerReserve {
 public:
  LayerReserve(DeviceContext<Device>* device, const Layer<Device, T>& layer,
               const LayerWeights& weights)
      : device_(device),
        layer_(layer),
        weights_(weights.pieces()),
        layer_bytes_(layer.ReserveBytes()),
        bytes_(layer_bytes_ + device->template PreparedBytes<T>(weights_)) {}

  // Prepares the weights, and says where the layer's own goes: into output `index`, or, if that is
  // not wanted, into scratch memory, and the output stays empty.
  Status Allocate(tensorflow::OpKernelContext* context, int index, bool keep, void** reserve) {
    tensorflow::Tensor* output;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(index, {keep ? bytes_ : 0}, &output));
    *reserve = keep ? output->data() : Scratch<unsigned char>(bytes_);
    device_->template PrepareWeights<T>(weights_, BehindLayers(*reserve));
    return Status();
  }

  // What a forward pass kept; if it kept nothing, made again from the layer's input x.
  Status Read(const tensorflow::Tensor& saved, const T* x, int64_t count, const void** reserve) {
    if (saved.NumElements() > 0 || bytes_ == 0) {
      TF_LS_RETURN_IF_ERROR(CheckShape(saved, {bytes_}, "reserve"));
      *reserve = saved.data();
      device_->template UsePrepared<T>(weights_, BehindLayers(saved.data()));
      return Status();
    }
    void* const remade = Scratch<unsigned char>(bytes_);
    device_->template PrepareWeights<T>(weights_, BehindLayers(remade));
    layer_.Forward(x, remade, Scratch<T>(count));
    *reserve = remade;
    return Status();
  }

 private:
  template <typename Number>
  Number* Scratch(int64_t count) {
    return device_->device().arena->template Allocate<Number>(count);
  }
  void* BehindLayers(void* reserve) const {
    return static_cast<unsigned char*>(reserve) + layer_bytes_;
  }

  DeviceContext<Device>* const device_;
  const Layer<Device, T>& layer_;
  const std::vector<WeightPiece>& weights_;
  const int64_t layer_bytes_;
  const int64_t bytes_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_RESERVE_H_
