#include "cc/core/thread_pool.h"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

constexpr int64_t kMuch = 1 << 20;  // cycles

TEST(ThreadPoolTest, DoesEveryUnitOnce) {
  for (const int count : {1, 2, 3, 8}) {
    ThreadPool threads(count);
    for (const int64_t total : {0, 1, 2, 3, 4, 7, 8, 9, 100}) {
      for (const int64_t cost : {int64_t{1}, kMuch}) {
        std::vector<std::atomic<int>> done(total);
        for (std::atomic<int>& unit : done) unit = 0;
        threads.ParallelFor(total, cost, [&](int64_t begin, int64_t end) {
          ASSERT_LT(begin, end);
          ASSERT_LE(end, total);
          for (int64_t i = begin; i < end; ++i) ++done[i];
        });
        for (int64_t i = 0; i < total; ++i) {
          EXPECT_EQ(done[i], 1) << "unit " << i << " of " << total << " on " << count << " threads";
        }
      }
    }
  }
}

TEST(ThreadPoolTest, WakesUpAgain) {
  ThreadPool threads(3);
  for (int i = 0; i < 3; ++i) {
    std::atomic<int64_t> done{0};
    threads.ParallelFor(100, kMuch, [&](int64_t begin, int64_t end) { done += end - begin; });
    EXPECT_EQ(done, 100);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST(ThreadPoolTest, LetsManyCallAtOnceAndFromWithin) {
  ThreadPool threads(3);
  std::atomic<int64_t> done{0};
  const auto call = [&] {
    for (int i = 0; i < 100; ++i) {
      threads.ParallelFor(5, kMuch, [&](int64_t begin, int64_t end) {
        threads.ParallelFor(end - begin, kMuch,
                            [&](int64_t first, int64_t last) { done += last - first; });
      });
    }
  };
  std::thread other(call);
  call();
  other.join();
  EXPECT_EQ(done, 1000);
}

TEST(ThreadPoolTest, HandsOnAnException) {
  ThreadPool threads(3);
  const auto fail_at = [&](int64_t unit) {
    threads.ParallelFor(9, kMuch, [&](int64_t begin, int64_t end) {
      if (begin <= unit && unit < end) throw std::runtime_error("unit");
    });
  };
  EXPECT_THROW(fail_at(0), std::runtime_error);
  EXPECT_THROW(fail_at(8), std::runtime_error);
  EXPECT_NO_THROW(fail_at(9));
}

}  // namespace
}  // namespace tf_ls
