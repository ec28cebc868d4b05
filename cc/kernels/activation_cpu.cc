#include "cc/kernels/activation.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_sum.h"

namespace tf_ls {
namespace {

constexpr int64_t kCost = 2;

}  // namespace

template <typename T>
void ActivationDropout(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                       int64_t rows, int64_t n, T* y) {
  ForEachRow(cpu, rows, n, kCost, [&](int64_t i) {
    float* const buffer = ThreadBuffer<1>(n);
    float* const out = RowTarget(y + i * n, buffer);
    row::Activate(kind, ReadRow(x + i * n, n, buffer), n, out);
    if (dropout.active()) {
      float* const mask = ThreadBuffer<0>(n);
      row::DropoutMask(dropout, i, 0, n, mask);
      row::Multiply(out, mask, n, out);
    }
    WriteRow(out, n, y + i * n);
  });
}

template <typename T>
void ActivationDropoutGradient(const Cpu& cpu, Activation kind, const Dropout& dropout, const T* x,
                               const T* dy, int64_t rows, int64_t n, T* y, T* dx, float* dbias,
                               ColumnSums<Cpu>* /*sums*/) {
  SumRows(
      cpu, rows, n, kCost,
      [&](int64_t i) {
        const float* const in = ReadRow(x + i * n, n, ThreadBuffer<1>(n));
        float* const buffer = ThreadBuffer<2>(n);
        float* const gradient = RowTarget(dx + i * n, buffer);
        float* const out = RowTarget(y + i * n, ThreadBuffer<3>(n));
        row::ActivateGradient(kind, in, ReadRow(dy + i * n, n, buffer), n, gradient);
        row::Activate(kind, in, n, out);
        if (dropout.active()) {
          float* const mask = ThreadBuffer<0>(n);
          row::DropoutMask(dropout, i, 0, n, mask);
          row::Multiply(gradient, mask, n, gradient);
          row::Multiply(out, mask, n, out);
        }
        WriteRow(gradient, n, dx + i * n);
        WriteRow(out, n, y + i * n);
        return gradient;
      },
      dbias);
}

template <typename T>
void ReluDropoutGradient(const Cpu& cpu, const Dropout& dropout, const T* y, const T* dy,
                         int64_t rows, int64_t n, T* dx, float* dbias, ColumnSums<Cpu>* /*sums*/) {
  SumRows(
      cpu, rows, n, /*cost=*/1,
      [&](int64_t i) {
        float* const buffer = ThreadBuffer<1>(n);
        float* const gradient = RowTarget(dx + i * n, buffer);
        row::ActivateGradient(Activation::kRelu, ReadRow(y + i * n, n, ThreadBuffer<0>(n)),
                              ReadRow(dy + i * n, n, buffer), n, gradient);
        if (dropout.active()) row::Scale(gradient, dropout.scale(), n, gradient);
        WriteRow(gradient, n, dx + i * n);
        return gradient;
      },
      dbias);
}

template void ActivationDropout(const Cpu&, Activation, const Dropout&, const float*, int64_t,
                                int64_t, float*);
template void ActivationDropout(const Cpu&, Activation, const Dropout&, const bfloat16*, int64_t,
                                int64_t, bfloat16*);
template void ActivationDropoutGradient(const Cpu&, Activation, const Dropout&, const float*,
                                        const float*, int64_t, int64_t, float*, float*, float*,
                                        ColumnSums<Cpu>*);
template void ActivationDropoutGradient(const Cpu&, Activation, const Dropout&, const bfloat16*,
                                        const bfloat16*, int64_t, int64_t, bfloat16*, bfloat16*,
                                        float*, ColumnSums<Cpu>*);
template void ReluDropoutGradient(const Cpu&, const Dropout&, const float*, const float*, int64_t,
                                  int64_t, float*, float*, ColumnSums<Cpu>*);
template void ReluDropoutGradient(const Cpu&, const Dropout&, const bfloat16*, const bfloat16*,
                                  int64_t, int64_t, bfloat16*, float*, ColumnSums<Cpu>*);

}  // namespace tf_ls
