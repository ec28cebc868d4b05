#include "cc/core/std_threads.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

TEST(StdThreadsTest, DoesEveryUnitOnce) {
  for (const int count : {1, 2, 3, 8}) {
    StdThreads threads(count);
    for (const int64_t total : {0, 1, 2, 3, 4, 7, 8, 9, 100}) {
      std::vector<std::atomic<int>> done(total);
      for (std::atomic<int>& unit : done) unit = 0;
      threads.ParallelFor(total, 1, [&](int64_t begin, int64_t end) {
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

TEST(StdThreadsTest, HandsOnAnException) {
  StdThreads threads(3);
  const auto fail_at = [&](int64_t unit) {
    threads.ParallelFor(9, 1, [&](int64_t begin, int64_t end) {
      if (begin <= unit && unit < end) throw std::runtime_error("unit");
    });
  };
  EXPECT_THROW(fail_at(0), std::runtime_error);
  EXPECT_THROW(fail_at(8), std::runtime_error);
  EXPECT_NO_THROW(fail_at(9));
}

}  // namespace
}  // namespace tf_ls
