#ifndef TF_LS_CC_CORE_SHARED_WORK_H_
#define TF_LS_CC_CORE_SHARED_WORK_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace tf_ls {

// Work on [0, total) that is done in pieces by the thread whose it is and by those that come to
// help. Nobody waits for helpers that have not come: what they would have done is done by others,
// and who comes late finds nothing left. Waking a thread takes microseconds, or, on a machine that
// is busy, milliseconds.
class SharedWork {
 public:
  // `work` is not touched after Finish; helpers may hold on to this longer.
  SharedWork(int64_t total, int64_t piece, const std::function<void(int64_t, int64_t)>& work)
      : total_(total), piece_(piece), work_(work) {}
  SharedWork(const SharedWork&) = delete;
  SharedWork& operator=(const SharedWork&) = delete;

  // Does pieces that nobody has begun until there are no more.
  void Help() {
    for (int64_t begin; (begin = next_.fetch_add(piece_)) < total_;) {
      const int64_t end = std::min(total_, begin + piece_);
      work_(begin, end);
      if (done_.fetch_add(end - begin) + end - begin < total_) continue;
      const std::lock_guard<std::mutex> lock(mutex_);
      all_done_.notify_all();
    }
  }

  // Helps, and returns when all pieces have been done.
  void Finish() {
    Help();
    for (int spins = 0; spins < kSpins; ++spins) {
      if (done_ >= total_) return;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [&] { return done_ >= total_; });
  }

 private:
  // How long to look whether the last piece is done before going to sleep: some 20 us.
  static constexpr int kSpins = 20000;

  const int64_t total_;
  const int64_t piece_;
  const std::function<void(int64_t, int64_t)>& work_;
  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_SHARED_WORK_H_
