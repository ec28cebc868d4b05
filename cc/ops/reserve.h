#ifndef TF_LS_CC_OPS_RESERVE_H_
#define TF_LS_CC_OPS_RESERVE_H_

#include "cc/ops/checks.h"
#include "cc/ops/device_context.h"

namespace tf_ls {

// Where a layer's forward pass keeps what its gradient needs: in output `index`, or, if that is not
// wanted, in scratch memory, and the output stays empty.
template <typename Device, typename Layer>
Status AllocateReserve(tensorflow::OpKernelContext* context, DeviceContext<Device>* device,
                       const Layer& layer, int index, bool keep, void** reserve) {
  const int64_t bytes = layer.ReserveBytes();
  tensorflow::Tensor* output;
  TF_LS_RETURN_IF_ERROR(context->allocate_output(index, {keep ? bytes : 0}, &output));
  *reserve =
      keep ? output->data() : device->device().arena->template Allocate<unsigned char>(bytes);
  return Status();
}

// What a layer's forward pass kept; if it kept nothing, made again from its input x.
template <typename Device, typename Layer, typename T>
Status ReadReserve(DeviceContext<Device>* device, const Layer& layer,
                   const tensorflow::Tensor& saved, const T* x, int64_t count,
                   const void** reserve) {
  const int64_t bytes = layer.ReserveBytes();
  *reserve = saved.data();
  if (saved.NumElements() > 0 || bytes == 0) return CheckShape(saved, {bytes}, "reserve");
  Arena* const arena = device->device().arena;
  void* const remade = arena->Allocate<unsigned char>(bytes);
  layer.Forward(x, remade, arena->Allocate<T>(count));
  *reserve = remade;
  return Status();
}

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_RESERVE_H_
