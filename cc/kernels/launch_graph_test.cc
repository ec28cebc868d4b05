#include "cc/kernels/launch_graph.h"

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <vector>

#include "cc/kernels/host_copy.h"
#include "cc/testing/test_gpu.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

class LaunchGraphTest : public ::testing::Test {
 protected:
  // Fills the numbers with a byte, on another stream.
  LaunchGraph RecordFilling(int byte) {
    return LaunchGraph([&, byte](CUstream_st* stream) {
      Gpu recorded = gpu_;
      recorded.stream = stream;
      FillBytes(recorded, numbers_.data(), byte, kCount);
    });
  }
  std::vector<unsigned char> Filled(unsigned char byte) {
    return std::vector<unsigned char>(kCount, byte);
  }

  static constexpr int64_t kCount = 1000;
  const test::TestGpu test_gpu_;
  const Gpu& gpu_ = test_gpu_;
  test::GpuNumbers<unsigned char> numbers_{Filled(0)};
};

TEST_F(LaunchGraphTest, RunsNothingWhileItRecords) {
  RecordFilling(1);
  EXPECT_EQ(numbers_.host(), Filled(0));
}

TEST_F(LaunchGraphTest, LaunchesWhatItRecordedAsOftenAsWanted) {
  const LaunchGraph one = RecordFilling(1), two = RecordFilling(2);
  for (int i = 0; i < 3; ++i) {
    one.Launch(gpu_);
    EXPECT_EQ(numbers_.host(), Filled(1));
    two.Launch(gpu_);
    EXPECT_EQ(numbers_.host(), Filled(2));
  }
}

TEST_F(LaunchGraphTest, KeepsTheOrderOfTheStream) {
  const LaunchGraph one = RecordFilling(1);
  FillBytes(gpu_, numbers_.data(), 3, kCount);
  one.Launch(gpu_);
  FillBytes(gpu_, numbers_.data(), 4, kCount / 2);
  std::vector<unsigned char> expected = Filled(1);
  for (int64_t i = 0; i < kCount / 2; ++i) expected[i] = 4;
  EXPECT_EQ(numbers_.host(), expected);
}

TEST_F(LaunchGraphTest, PassesOnWhatIsThrownWhileItRecords) {
  EXPECT_THROW(LaunchGraph([](CUstream_st*) { throw std::invalid_argument("no"); }),
               std::invalid_argument);
  RecordFilling(1).Launch(gpu_);
  EXPECT_EQ(numbers_.host(), Filled(1));
}

}  // namespace
}  // namespace tf_ls
