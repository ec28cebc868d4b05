#ifndef TF_LS_CC_TESTING_CPU_BENCHMARK_H_
#define TF_LS_CC_TESTING_CPU_BENCHMARK_H_

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#include "cc/core/arena.h"
#include "cc/core/cpu.h"
#include "cc/kernels/row_math.h"

// What the CPU's benchmarks share.
namespace tf_ls {
namespace test {

// Whether this thread's own time is counted, instead of the clock's: for one thread on a machine
// that is busy with other things.
inline bool count_own_time = false;

inline double Seconds() {
  timespec now;
  clock_gettime(count_own_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Milliseconds of a call, the least of many: what others do on the machine only adds to it.
inline double Time(const std::function<void()>& call) {
  std::vector<double> times;
  const double start = Seconds();
  call();
  while (times.size() < 5 || (times.size() < 200 && Seconds() - start < 0.3)) {
    const double before = Seconds();
    call();
    times.push_back((Seconds() - before) * 1e3);
  }
  return *std::min_element(times.begin(), times.end());
}

// Scratch memory that is as cheap to get as from TensorFlow's allocator.
class StackArena : public BlockArena {
 public:
  StackArena() : BlockArena(size_t{256} << 20) {}

 protected:
  std::shared_ptr<void> NewBlock(size_t bytes) override {
    const std::shared_ptr<void> block(std::malloc(bytes + kAlignment), std::free);
    void* start = block.get();
    size_t space = bytes + kAlignment;
    return {block, std::align(kAlignment, bytes, start, space)};
  }
};

// Memory that starts as aligned as an arena's.
class AlignedMemory {
 public:
  explicit AlignedMemory(size_t bytes) : memory_(bytes + kAlignment) {
    size_t space = memory_.size();
    start_ = memory_.data();
    std::align(kAlignment, bytes, start_, space);
  }
  AlignedMemory(AlignedMemory&&) = default;
  void* start() const { return start_; }

 private:
  std::vector<unsigned char> memory_;
  void* start_;
};

// Billions of bytes a second that are read from memory at best.
inline double ReadRate(const Cpu& cpu) {
  constexpr int64_t kRow = 4096, kCount = 16384;
  const std::vector<float> memory(kRow * kCount, 1.0f);
  std::vector<const float*> rows;
  for (int64_t i = 0; i < kCount; ++i) rows.push_back(memory.data() + i * kRow);
  std::vector<float> products(kCount);
  return 4.0 * kRow * kCount / 1e6 / Time([&] {
           cpu.threads->ParallelFor(kCount, kRow, [&](int64_t begin, int64_t end) {
             row::Products(memory.data(), rows.data() + begin, end - begin, kRow,
                           products.data() + begin);
           });
         });
}

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_CPU_BENCHMARK_H_
