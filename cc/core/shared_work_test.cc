#include "cc/core/shared_work.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

TEST(SharedWorkTest, IsDoneOnceByAllWhoHelp) {
  for (const int helpers : {0, 1, 3}) {
    for (const int64_t total : {0, 1, 2, 7, 100}) {
      for (const int64_t piece : {1, 3, 1000}) {
        std::vector<std::atomic<int>> done(total);
        for (std::atomic<int>& unit : done) unit = 0;
        const std::function<void(int64_t, int64_t)> work = [&](int64_t begin, int64_t end) {
          ASSERT_LT(begin, end);
          ASSERT_LE(end, total);
          for (int64_t i = begin; i < end; ++i) ++done[i];
        };
        SharedWork shared(total, piece, work);
        std::vector<std::thread> threads;
        for (int i = 0; i < helpers; ++i) threads.emplace_back([&] { shared.Help(); });
        shared.Finish();
        for (const std::atomic<int>& unit : done) EXPECT_EQ(unit, 1);
        for (std::thread& thread : threads) thread.join();
      }
    }
  }
}

TEST(SharedWorkTest, WaitsForPiecesThatHelpersHaveBegun) {
  std::atomic<bool> begun{false}, may_end{false}, ended{false};
  const auto self = std::this_thread::get_id();
  const std::function<void(int64_t, int64_t)> work = [&](int64_t, int64_t) {
    if (std::this_thread::get_id() == self) {
      while (!begun) std::this_thread::yield();
      may_end = true;
      return;
    }
    begun = true;
    while (!may_end) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // longer than who waits spins
    ended = true;
  };
  SharedWork shared(2, 1, work);
  std::thread helper([&] { shared.Help(); });
  shared.Finish();
  EXPECT_TRUE(ended);
  helper.join();
}

TEST(SharedWorkTest, DoesNotTouchTheWorkOfWhoIsGone) {
  std::shared_ptr<SharedWork> shared;
  {
    int64_t done = 0;
    const std::function<void(int64_t, int64_t)> work = [&](int64_t begin, int64_t end) {
      done += end - begin;
    };
    shared = std::make_shared<SharedWork>(5, 2, work);
    shared->Finish();
    EXPECT_EQ(done, 5);
  }
  shared->Help();
}

}  // namespace
}  // namespace tf_ls
