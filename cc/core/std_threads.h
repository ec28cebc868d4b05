#ifndef TF_LS_CC_CORE_STD_THREADS_H_
#define TF_LS_CC_CORE_STD_THREADS_H_

#include <algorithm>
#include <thread>
#include <vector>

#include "cc/core/threads.h"

namespace tf_ls {

// Starts threads for every call: for tests and examples, where simplicity counts more than speed.
class StdThreads : public Threads {
 public:
  explicit StdThreads(int count) : count_(count) {}

 protected:
  void Share(int64_t total, int64_t /*cost*/,
             const std::function<void(int64_t, int64_t)>& work) override {
    const int64_t share = (total + count_ - 1) / count_;
    std::vector<std::thread> threads;
    for (int64_t begin = share; begin < total; begin += share) {
      threads.emplace_back(work, begin, std::min(total, begin + share));
    }
    if (total > 0) work(0, std::min(total, share));
    for (std::thread& thread : threads) thread.join();
  }

 private:
  const int count_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_STD_THREADS_H_
