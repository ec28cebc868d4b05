#ifndef TF_LS_CC_CORE_THREADS_H_
#define TF_LS_CC_CORE_THREADS_H_

#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>

namespace tf_ls {

// The threads that kernels on the CPU may use. TensorFlow's intra-op pool stands behind it in the
// operations, so that its setting holds and no second team of threads competes with it.
class Threads {
 public:
  virtual ~Threads() = default;

  // Calls work(begin, end) on disjoint ranges that cover [0, total) and returns when all have
  // ended. `cost` estimates the cycles that one unit takes: little work stays on the calling
  // thread. An exception of any thread's work (oneDNN reports by exceptions) comes out here.
  void ParallelFor(int64_t total, int64_t cost, const std::function<void(int64_t, int64_t)>& work) {
    std::mutex mutex;
    std::exception_ptr error;
    Share(total, cost, [&](int64_t begin, int64_t end) {
      try {
        work(begin, end);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (error == nullptr) error = std::current_exception();
      }
    });
    if (error != nullptr) std::rethrow_exception(error);
  }

 protected:
  // ParallelFor for work that does not throw.
  virtual void Share(int64_t total, int64_t cost,
                     const std::function<void(int64_t, int64_t)>& work) = 0;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_THREADS_H_
