#include "cc/core/work_crew.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using Work = std::function<void(int64_t, int64_t)>;

// A pool with a thread for each function.
class Pool {
 public:
  ~Pool() {
    for (std::thread& thread : threads_) thread.join();
  }
  WorkCrew::Schedule schedule() {
    return [this](std::function<void()> run) { threads_.emplace_back(std::move(run)); };
  }
  size_t scheduled() const { return threads_.size(); }

 private:
  std::vector<std::thread> threads_;
};

// Work of two pieces, each of which ends when the other has begun: it takes two threads.
void ShareBetweenTwo(WorkCrew* crew, bool recruits) {
  std::atomic<int> begun{0};
  const Work work = [&](int64_t, int64_t) {
    ++begun;
    while (begun < 2) std::this_thread::yield();
  };
  crew->Share(2, 1, recruits, work);
}

TEST(WorkCrewTest, DoesEveryUnitOnce) {
  for (const int helpers : {0, 1, 3}) {
    Pool pool;
    WorkCrew crew(helpers, pool.schedule());
    for (const int64_t total : {1, 2, 7, 100}) {
      for (const bool recruits : {true, false}) {
        std::vector<std::atomic<int>> done(total);
        for (std::atomic<int>& unit : done) unit = 0;
        crew.Share(total, 3, recruits, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++done[i];
        });
        for (const std::atomic<int>& unit : done) EXPECT_EQ(unit, 1);
      }
    }
  }
}

TEST(WorkCrewTest, HandsWorkToWhoLooks) {
  Pool pool;
  WorkCrew crew(1, pool.schedule());
  // On a busy machine who looks may have gone before there is work: more than one try.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::atomic<bool> handed_over{false};
  while (!handed_over && std::chrono::steady_clock::now() < until) {
    ShareBetweenTwo(&crew, /*recruits=*/true);
    const auto self = std::this_thread::get_id();
    crew.Share(2, 1, /*recruits=*/false, [&](int64_t, int64_t) {
      if (std::this_thread::get_id() != self) handed_over = true;
      const auto enough = std::chrono::steady_clock::now() + std::chrono::milliseconds(10);
      while (!handed_over && std::chrono::steady_clock::now() < enough) std::this_thread::yield();
    });
  }
  EXPECT_TRUE(handed_over);
}

TEST(WorkCrewTest, LetsGoOfWhoFindsNothing) {
  Pool pool;
  WorkCrew crew(1, pool.schedule());
  ShareBetweenTwo(&crew, /*recruits=*/true);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (crew.looking() > 0 && std::chrono::steady_clock::now() < until);
  EXPECT_EQ(crew.looking(), 0);
  EXPECT_EQ(pool.scheduled(), 1);
  ShareBetweenTwo(&crew, /*recruits=*/true);
  EXPECT_EQ(pool.scheduled(), 2);
}

TEST(WorkCrewTest, DoesNotLookWhileThereIsAnother) {
  Pool pool;
  WorkCrew crew(1, pool.schedule());
  const WorkCrew other(1, pool.schedule());
  for (int i = 0; i < 3; ++i) ShareBetweenTwo(&crew, /*recruits=*/true);
  EXPECT_EQ(pool.scheduled(), 3);
}

TEST(WorkCrewTest, MayEndWhileSomebodyLooks) {
  Pool pool;
  auto crew = std::make_unique<WorkCrew>(1, pool.schedule());
  ShareBetweenTwo(crew.get(), /*recruits=*/true);
  crew = nullptr;
}

}  // namespace
}  // namespace tf_ls
