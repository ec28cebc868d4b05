#include "cc/kernels/activation.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

constexpr int64_t kCost = 2;

// Multiplies a row by its mask, in place.
void DropRow(const Dropout& dropout, int64_t i, int64_t n, float* values) {
  float* const mask = ThreadBuffer<0>(n);
  row::DropoutMask(dropout, i, 0, n, mask);
  row::Multiply(values, mask, n, values);
}

}  // namespace

template <typename T>
void ActivationDropout(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                       int64_t rows, int64_t n, T* y) {
  ForEachRow(cpu, rows, n, kCost, [&](int64_t i) {
    float* const buffer = ThreadBuffer<1>(n);
    float* const out = RowTarget(y + i * n, buffer);
    row::Activate(kind, ReadRow(x + i * n, n, buffer), n, out);
    if (dropout.active()) DropRow(dropout, i, n, out);
    WriteRow(out, n, y + i * n);
  });
}

template <typename T>
void ActivationDropoutGradient(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                               const T* dy, int64_t rows, int64_t n, T* dx) {
  ForEachRow(cpu, rows, n, kCost, [&](int64_t i) {
    float* const buffer = ThreadBuffer<2>(n);
    float* const out = RowTarget(dx + i * n, buffer);
    row::ActivateGradient(kind, ReadRow(x + i * n, n, ThreadBuffer<1>(n)),
                          ReadRow(dy + i * n, n, buffer), n, out);
    if (dropout.active()) DropRow(dropout, i, n, out);
    WriteRow(out, n, dx + i * n);
  });
}

template void ActivationDropout(const Cpu&, Activation, const Dropout&, const float*, int64_t,
                                int64_t, float*);
template void ActivationDropout(const Cpu&, Activation, const Dropout&, const bfloat16*, int64_t,
                                int64_t, bfloat16*);
template void ActivationDropoutGradient(const Cpu&, Activation, const Dropout&, const float*,
                                        const float*, int64_t, int64_t, float*);
template void ActivationDropoutGradient(const Cpu&, Activation, const Dropout&, const bfloat16*,
                                        const bfloat16*, int64_t, int64_t, bfloat16*);

}  // namespace tf_ls
