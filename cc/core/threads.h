#ifndef TF_LS_CC_CORE_THREADS_H_
#define TF_LS_CC_CORE_THREADS_H_

#include <cstdint>
#include <functional>

namespace tf_ls {

// The threads that kernels on the CPU may use. TensorFlow's intra-op pool stands behind it in the
// operations, so that its setting holds and no second team of threads competes with it.
class Threads {
 public:
  virtual ~Threads() = default;

  virtual int count() const = 0;

  // Calls work(begin, end) on disjoint ranges that cover [0, total) and returns when all have
  // ended. `cost` estimates the cycles that one unit takes: little work stays on the calling
  // thread.
  virtual void ParallelFor(int64_t total, int64_t cost,
                           const std::function<void(int64_t, int64_t)>& work) = 0;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_THREADS_H_
