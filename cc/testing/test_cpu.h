#ifndef TF_LS_CC_TESTING_TEST_CPU_H_
#define TF_LS_CC_TESTING_TEST_CPU_H_

#include <cstring>

#include "cc/core/arena.h"
#include "cc/core/cpu.h"
#include "cc/core/std_threads.h"

namespace tf_ls {
namespace test {

// Scratch memory that starts as NaN, so that what reads it before writing it shows.
class NanArena : public HeapArena {
 protected:
  void* AllocateBytes(size_t bytes) override {
    void* const block = HeapArena::AllocateBytes(bytes);
    std::memset(block, 0xff, bytes);
    return block;
  }
};

// A Cpu with threads and scratch memory of its own.
class TestCpu {
 public:
  explicit TestCpu(int thread_count = 2) : threads_(thread_count), cpu_{&threads_, &arena_} {}
  TestCpu(const TestCpu&) = delete;
  TestCpu& operator=(const TestCpu&) = delete;

  operator const Cpu&() const { return cpu_; }

 private:
  StdThreads threads_;
  NanArena arena_;
  const Cpu cpu_;
};

}  // namespace test
}  // namespace tf_ls

#endif  // TF_LS_CC_TESTING_TEST_CPU_H_
