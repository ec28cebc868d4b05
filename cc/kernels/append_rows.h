#ifndef TF_LS_CC_KERNELS_APPEND_ROWS_H_
#define TF_LS_CC_KERNELS_APPEND_ROWS_H_

#include <cstdint>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/attention.h"

namespace tf_ls {

// y[batch, before + added, n] = x[batch, before, n] followed, in every sentence, by `added` rows of
// n numbers. Grows a key or value cache. Cost: reads and writes all of it.
template <typename T>
void AppendRows(const Cpu& cpu, const T* x, int64_t batch, int64_t before, HeadRows<const T> rows,
                int64_t added, int64_t n, T* y);
template <typename T>
void AppendRows(const Gpu& gpu, const T* x, int64_t batch, int64_t before, HeadRows<const T> rows,
                int64_t added, int64_t n, T* y);

// The gradient of AppendRows at dy = dy1 + dy2 (y is used twice: it is attended to, and handed on
// to the next step). Writes dx and drows. Cost: reads twice and writes once all of it.
template <typename T>
void AppendRowsGradient(const Cpu& cpu, const T* dy1, const T* dy2, int64_t batch, int64_t before,
                        int64_t added, int64_t n, T* dx, HeadRows<T> drows);
template <typename T>
void AppendRowsGradient(const Gpu& gpu, const T* dy1, const T* dy2, int64_t batch, int64_t before,
                        int64_t added, int64_t n, T* dx, HeadRows<T> drows);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_APPEND_ROWS_H_
