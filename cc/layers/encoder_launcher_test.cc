#include "cc/layers/encoder_launcher.h"

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "cc/kernels/host_copy.h"
#include "cc/kernels/scale.h"
#include "cc/testing/test_gpu.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

// In place of an encoder, what doubles as many numbers as the shape has rows. That their launches
// are not counted is what shows that they were recorded before.
class EncoderLauncherTest : public ::testing::Test {
 protected:
  std::vector<float> Doubled(const Gpu& gpu, const std::vector<float>& numbers, int64_t sentences) {
    const auto count = static_cast<int64_t>(numbers.size());
    std::vector<float> doubled(numbers.size());
    const auto run = [&](const Gpu& on, const auto& encode) {
      float* const x = on.arena->Allocate<float>(count);
      float* const y = on.arena->Allocate<float>(count);
      CopyToDevice(on, numbers.data(), count * sizeof(float), x);
      encode([&](const Gpu& launched) {
        ++launches_;
        if (fail_) throw std::runtime_error("no");
        const ArenaScope scope(launched.arena);
        float* const scratch = launched.arena->Allocate<float>(count + more_scratch_);
        Scale(launched, x, count, 2.0f, scratch);
        Scale(launched, scratch, count, 1.0f, y);
      });
      CopyToHost(on, y, count * sizeof(float), doubled.data());
    };
    const NewMemory new_memory = [&](size_t bytes) {
      return std::shared_ptr<void>(test::AllocateGpu(bytes));
    };
    launcher_.Run(gpu, {count, sentences, nullptr}, new_memory, run);
    return doubled;
  }

  // Returns how many launches it took.
  int Check(int64_t count, float first, int64_t sentences = 1) {
    return CheckOn(gpu_, count, first, sentences);
  }
  int CheckOn(const Gpu& gpu, int64_t count, float first, int64_t sentences = 1) {
    const int before = launches_;
    std::vector<float> numbers(count), expected(count);
    for (int64_t i = 0; i < count; ++i) {
      numbers[i] = first + static_cast<float>(i % 7);
      expected[i] = 2.0f * numbers[i];
    }
    EXPECT_EQ(Doubled(gpu, numbers, sentences), expected) << count << " " << sentences;
    return launches_ - before;
  }

  const test::TestGpu test_gpu_;
  const Gpu& gpu_ = test_gpu_;
  EncoderLauncher<Gpu> launcher_;
  int launches_ = 0;
  bool fail_ = false;
  int64_t more_scratch_ = 0;
};

TEST_F(EncoderLauncherTest, RecordsWhatComesForTheSecondTime) {
  EXPECT_EQ(Check(100, 1.0f), 1);
  EXPECT_EQ(Check(100, 2.0f), 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Check(100, 3.0f + i), 0);
}

TEST_F(EncoderLauncherTest, TellsShapesApart) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Check(50, 1.0f, 1), 1);
    EXPECT_EQ(Check(50, 2.0f, 2), 1);
    EXPECT_EQ(Check(40, 3.0f, 1), 1);
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Check(50, 4.0f, 1), 0);
    EXPECT_EQ(Check(40, 5.0f, 1), 0);
    EXPECT_EQ(Check(50, 6.0f, 2), 0);
  }
  Gpu rounding = gpu_;
  rounding.allow_tf32 = true;
  EXPECT_EQ(CheckOn(rounding, 50, 7.0f), 1);
}

TEST_F(EncoderLauncherTest, RecordsAgainInLargerMemory) {
  for (int i = 0; i < 3; ++i) Check(100, 1.0f);
  Check(10000, 2.0f);
  EXPECT_EQ(Check(100, 3.0f), 0);
  EXPECT_EQ(Check(10000, 4.0f), 1);
  EXPECT_EQ(Check(100, 5.0f), 1);
  EXPECT_EQ(Check(100, 6.0f), 0);
  EXPECT_EQ(Check(10000, 7.0f), 0);
}

TEST_F(EncoderLauncherTest, RecordsNothingInMemoryThatDoesNotStay) {
  Check(100, 1.0f);
  more_scratch_ = 10000;
  EXPECT_EQ(Check(100, 2.0f), 2);  // once in vain
  EXPECT_EQ(Check(100, 3.0f), 1);
  EXPECT_EQ(Check(100, 4.0f), 0);
}

TEST_F(EncoderLauncherTest, RecordsNothingThatNeedsTooMuchMemory) {
  more_scratch_ = EncoderLauncher<Gpu>::kMostBytes / sizeof(float);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Check(100, 1.0f + i), 1);
}

TEST_F(EncoderLauncherTest, KeepsTheGraphsOfTheShapesThatCameLast) {
  constexpr int64_t kMost = EncoderLauncher<Gpu>::kMostShapes;
  for (int i = 0; i < 2; ++i) {
    for (int64_t sentences = 0; sentences < kMost; ++sentences) Check(20, 1.0f, sentences);
  }
  EXPECT_EQ(Check(20, 2.0f, 0), 0);
  EXPECT_EQ(Check(20, 3.0f, kMost), 1);  // in place of 1
  EXPECT_EQ(Check(20, 4.0f, 0), 0);
  EXPECT_EQ(Check(20, 5.0f, 2), 0);
  EXPECT_EQ(Check(20, 6.0f, 1), 1);
}

TEST_F(EncoderLauncherTest, RecordsOneStreamOnly) {
  cudaStream_t stream;
  test::CheckCuda(cudaStreamCreate(&stream));
  Check(100, 1.0f);
  Gpu other = gpu_;
  other.stream = stream;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(CheckOn(other, 100, 2.0f + i), 1);
  EXPECT_EQ(Check(100, 5.0f), 1);
  EXPECT_EQ(Check(100, 6.0f), 0);
  test::CheckCuda(cudaStreamDestroy(stream));
}

TEST_F(EncoderLauncherTest, GoesOnAfterWhatFails) {
  for (int i = 0; i < 2; ++i) {
    fail_ = true;
    EXPECT_THROW(Check(100, 1.0f), std::runtime_error);
    fail_ = false;
    EXPECT_EQ(Check(100, 2.0f), 1);
  }
  EXPECT_EQ(Check(100, 3.0f), 0);
}

TEST_F(EncoderLauncherTest, RunsInThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 50; ++i) {
        const auto count = static_cast<size_t>(100 + 100 * (i % 3));
        const std::vector<float> numbers(count, static_cast<float>(t + i));
        EXPECT_EQ(Doubled(gpu_, numbers, 1),
                  std::vector<float>(count, 2.0f * static_cast<float>(t + i)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tf_ls
