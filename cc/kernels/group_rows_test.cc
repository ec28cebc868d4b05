#include "cc/kernels/group_rows.h"

#include <cuda_runtime_api.h>

#include <cstdint>
#include <random>
#include <vector>

#include "cc/testing/test_gpu.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::CheckCuda;
using test::GpuNumbers;

std::vector<int32_t> Host(const int32_t* numbers, int64_t count) {
  std::vector<int32_t> host(count);
  CheckCuda(cudaMemcpy(host.data(), numbers, count * sizeof(int32_t), cudaMemcpyDeviceToHost));
  return host;
}

void Check(const std::vector<int32_t>& keys, int32_t groups) {
  SCOPED_TRACE(::testing::Message() << keys.size() << " rows in " << groups << " groups");
  std::vector<int32_t> expected_starts, expected_order;
  for (int32_t group = 0; group <= groups; ++group) {
    expected_starts.push_back(static_cast<int32_t>(expected_order.size()));
    for (size_t i = 0; i < keys.size(); ++i) {
      if (keys[i] == group) expected_order.push_back(static_cast<int32_t>(i));
    }
  }
  const test::TestGpu gpu;
  const GpuNumbers<int32_t> on_gpu(keys);
  const RowGroups result = GroupRows(gpu, on_gpu.data(), static_cast<int32_t>(keys.size()), groups);
  EXPECT_EQ(Host(result.starts, groups + 1), expected_starts);
  EXPECT_EQ(Host(result.order, keys.size()), expected_order);
}

std::vector<int32_t> RandomKeys(int32_t rows, int32_t groups) {
  std::mt19937 generator(rows);
  std::vector<int32_t> keys(rows);
  for (int32_t& key : keys) key = static_cast<int32_t>(generator() % (groups + 1));
  return keys;
}

TEST(GroupRowsTest, PutsRowsOfAGroupInTheirOrder) {
  for (const int32_t rows : {0, 1, 2, 33, 1000, 30000}) {
    for (const int32_t groups : {1, 2, 255, 256, 300}) Check(RandomKeys(rows, groups), groups);
  }
}

TEST(GroupRowsTest, TakesManyGroupsOfFewRows) { Check(RandomKeys(100, 70000), 70000); }

TEST(GroupRowsTest, TakesRowsOfOneGroup) { Check(std::vector<int32_t>(20000, 3), 7); }

TEST(GroupRowsTest, TakesNoGroups) {
  Check({}, 0);
  Check({0, 0, 0}, 0);
}

}  // namespace
}  // namespace tf_ls
