#ifndef TF_LS_CC_CORE_THREAD_POOL_H_
#define TF_LS_CC_CORE_THREAD_POOL_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "cc/core/threads.h"

namespace tf_ls {

// Threads that stay, for what runs without TensorFlow and counts microseconds. The calling thread
// is one of them. One call at a time shares its work; who calls meanwhile, or from within, works
// alone.
class ThreadPool : public Threads {
 public:
  explicit ThreadPool(int count) {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this] { Serve(); });
  }
  ~ThreadPool() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
      ++calls_;
    }
    called_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 protected:
  void Share(int64_t total, int64_t cost,
             const std::function<void(int64_t, int64_t)>& work) override {
    if (total <= 0) return;
    if (total == 1 || workers_.empty() || total * cost < kWorthSharing || !sharing_.try_lock()) {
      return work(0, total);
    }
    const std::lock_guard<std::mutex> sharing(sharing_, std::adopt_lock);
    const int64_t threads = static_cast<int64_t>(workers_.size()) + 1;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      total_ = total;
      piece_ = std::max<int64_t>(1, total / (threads * kPieces));
      next_ = 0;
      working_ = static_cast<int64_t>(workers_.size());
      ++calls_;
    }
    called_.notify_all();
    Work();
    for (int64_t spins = 0; working_ > 0; ++spins) {
      if (spins > kSpins) std::this_thread::yield();
    }
  }

 private:
  // Cycles that are worth waking others for.
  static constexpr int64_t kWorthSharing = 20000;
  // Of each thread's work, so that one that comes late gets less.
  static constexpr int64_t kPieces = 4;
  // How long to look for the next call before going to sleep: some 50 us.
  static constexpr int64_t kSpins = 20000;

  void Work() {
    for (int64_t begin; (begin = next_.fetch_add(piece_)) < total_;) {
      (*work_)(begin, std::min(total_, begin + piece_));
    }
  }

  void Serve() {
    for (int64_t seen = 0;; ++seen) {
      for (int64_t spins = 0; spins < kSpins && calls_ == seen; ++spins) {
      }
      if (calls_ == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        called_.wait(lock, [&] { return calls_ != seen; });
      }
      if (ended_) return;
      Work();
      --working_;
    }
  }

  std::vector<std::thread> workers_;
  std::mutex sharing_;  // held by who shares work
  std::mutex mutex_;    // of what follows, for who sleeps
  std::condition_variable called_;
  std::atomic<int64_t> calls_{0};
  std::atomic<bool> ended_{false};
  const std::function<void(int64_t, int64_t)>* work_ = nullptr;
  int64_t total_ = 0;
  int64_t piece_ = 1;
  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> working_{0};  // workers that have not ended this call
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_THREAD_POOL_H_
