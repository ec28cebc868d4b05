#ifndef TF_LS_CC_CORE_WORK_CREW_H_
#define TF_LS_CC_CORE_WORK_CREW_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "cc/core/shared_work.h"

namespace tf_ls {

// Threads of a pool that help with one piece of work after the other. Who has helped looks for more
// for a while before it goes back to the pool: handing work to a thread that looks takes less than
// a microsecond, waking one that sleeps takes many. A step of generation consists of some dozens of
// products, of microseconds each if the model is small.
//
// Looking takes a core, so a crew does it only while there is no other crew.
class WorkCrew {
 public:
  // Runs a function on another thread, at some time.
  using Schedule = std::function<void(std::function<void()>)>;

  // Of up to `helpers` threads besides the one that calls Share.
  WorkCrew(int64_t helpers, Schedule schedule)
      : helpers_(helpers), schedule_(std::move(schedule)), board_(std::make_shared<Board>()) {
    ++Crews();
  }
  ~WorkCrew() {
    --Crews();
    board_->ended = true;
  }
  WorkCrew(const WorkCrew&) = delete;
  WorkCrew& operator=(const WorkCrew&) = delete;

  // How many look for work at the moment.
  int64_t looking() const { return board_->looking; }

  // Calls work(begin, end) on pieces of [0, total), which helpers and the calling thread share.
  // `recruits`: whether threads are taken from the pool if too few look for work.
  void Share(int64_t total, int64_t piece, bool recruits,
             const std::function<void(int64_t, int64_t)>& work) {
    const auto shared = std::make_shared<SharedWork>(total, piece, work);
    const int64_t wanted = std::min(helpers_, (total + piece - 1) / piece - 1);
    const int64_t present = looking();
    if (present > 0) board_->Post(shared);
    for (int64_t i = present; i < wanted && recruits; ++i) {
      schedule_([shared, board = board_] {
        const int64_t seen = board->posts;
        shared->Help();
        board->Serve(seen);
      });
    }
    shared->Finish();
  }

 private:
  // What helpers look at. It lives on while one of them does.
  struct Board {
    void Post(std::shared_ptr<SharedWork> shared) {
      {
        const std::lock_guard<std::mutex> lock(mutex);
        work.swap(shared);
      }
      ++posts;
    }

    // Helps with what is posted after the first `seen` posts, until nothing comes for a while.
    void Serve(int64_t seen) {
      ++looking;
      for (int64_t looks = 0; looks < kLooks && !ended && Crews() == 1; ++looks) {
        const int64_t now = posts;
        if (now == seen) continue;
        seen = now;
        looks = 0;
        --looking;
        Newest()->Help();
        ++looking;
      }
      --looking;
    }

    std::shared_ptr<SharedWork> Newest() {
      const std::lock_guard<std::mutex> lock(mutex);
      return work;
    }

    std::atomic<int64_t> posts{0};
    std::atomic<int64_t> looking{0};
    std::atomic<bool> ended{false};
    std::mutex mutex;
    std::shared_ptr<SharedWork> work;  // the newest
  };

  // How often to look: some 100 us.
  static constexpr int64_t kLooks = 100000;

  static std::atomic<int64_t>& Crews() {
    static std::atomic<int64_t> crews{0};
    return crews;
  }

  const int64_t helpers_;
  const Schedule schedule_;
  const std::shared_ptr<Board> board_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_WORK_CREW_H_
