#ifndef TF_LS_CC_KERNELS_ROW_ACCESS_H_
#define TF_LS_CC_KERNELS_ROW_ACCESS_H_

#include <cstdint>
#include <vector>

#include "cc/core/cpu.h"
#include "cc/kernels/row_math.h"

// Lets one kernel body serve float32, which is worked on in place, and bfloat16, which goes through
// a float32 buffer.
namespace tf_ls {

inline const float* ReadRow(const float* x, int64_t /*n*/, float* /*buffer*/) { return x; }
inline const float* ReadRow(const bfloat16* x, int64_t n, float* buffer) {
  row::Load(x, n, buffer);
  return buffer;
}
inline const float* ReadRow(const float16* x, int64_t n, float* buffer) {
  row::Load(x, n, buffer);
  return buffer;
}

// Where to put a row before WriteRow brings it to its place.
inline float* RowTarget(float* y, float* /*buffer*/) { return y; }
inline float* RowTarget(bfloat16* /*y*/, float* buffer) { return buffer; }

inline void WriteRow(const float* /*target*/, int64_t /*n*/, float* /*y*/) {}
inline void WriteRow(const float* target, int64_t n, bfloat16* y) { row::Store(target, n, y); }

// A float32 buffer of this thread, of at least `count` numbers. Each slot is a buffer of its own.
template <int slot>
float* ThreadBuffer(int64_t count) {
  thread_local std::vector<float> buffer;
  if (static_cast<int64_t>(buffer.size()) < count) buffer.resize(count);
  return buffer.data();
}

// Calls body(row) for every row, on all threads. `cost` is the cycles that one number takes.
template <typename Body>
void ForEachRow(const Cpu& cpu, int64_t rows, int64_t n, int64_t cost, const Body& body) {
  cpu.threads->ParallelFor(rows, cost * n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ROW_ACCESS_H_
