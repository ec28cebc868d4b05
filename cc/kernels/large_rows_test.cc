#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "cc/core/float16.h"
#include "cc/kernels/adam.h"
#include "cc/kernels/append_rows.h"
#include "cc/kernels/column_sum.h"
#include "cc/kernels/dropout.h"
#include "cc/kernels/pack.h"
#include "cc/kernels/row_math.h"
#include "cc/testing/closeness.h"
#include "cc/testing/test_gpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

// Tensors of more than 2^31 numbers, and of more rows than a grid of blocks has: for GPUs only,
// whose memory can be filled and looked at here and there without touching all of it on the CPU.
namespace tf_ls {
namespace {

using test::CheckCuda;
using test::Convert;
using test::Identical;

constexpr int64_t n = 4104;
constexpr int64_t kRows = 65535 * 8 + 11;
static_assert(n * kRows > int64_t{1} << 31, "numbers beyond 32 bits");

class LargeRowsTest : public ::testing::Test {
 protected:
  // Every number of x is this one.
  static constexpr float16 kNumber = {0x3c3c};

  LargeRowsTest() { CheckCuda(cudaMemset(x(), 0x3c, kBytes)); }

  float16* x() const { return static_cast<float16*>(memory_.get()); }

  template <typename T>
  static std::vector<T> Host(const T* numbers, int64_t count) {
    std::vector<T> host(count);
    CheckCuda(cudaMemcpy(host.data(), numbers, count * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }

  static constexpr int64_t kBytes = (kRows * n + 8) * sizeof(float16);
  const test::GpuMemory memory_ = test::AllocateGpu(kBytes);
  const test::TestGpu test_gpu_;
  const Gpu& gpu_ = test_gpu_;
};

TEST_F(LargeRowsTest, AreDropped) {
  const Dropout dropout{0.3f, 17, DropoutSite::kStandalone};
  for (const int64_t shift : {0, 1}) {  // in packs, one by one
    CheckCuda(cudaMemset(x(), 0x3c, kBytes));
    float16* const rows = x() + shift;
    ApplyDropout(gpu_, dropout, rows, kRows, n, rows);
    for (const int64_t i : {int64_t{0}, kRows / 2, kRows - 1}) {
      std::vector<float> expected(n);
      row::DropoutMask(dropout, i, 0, n, expected.data());
      for (float& value : expected) value *= ToFloat(kNumber);
      EXPECT_TRUE(Identical(Host(rows + i * n, n), Convert<float16>(expected))) << i;
    }
    const auto behind = Host(rows + kRows * n, 7);
    EXPECT_TRUE(Identical(behind, std::vector<float16>(7, kNumber)));
  }
}

TEST_F(LargeRowsTest, AreSummed) {
  for (const int64_t shift : {0, 1}) {
    CheckCuda(cudaMemset(x(), 0, kBytes));
    float16* const rows = x() + shift;
    CheckCuda(cudaMemset(rows, 0x3c, n * sizeof(float16)));
    CheckCuda(cudaMemset(rows + (kRows - 1) * n, 0x3c, n * sizeof(float16)));
    test::GpuNumbers<float> y(test::Unwritten<float>(n));
    ColumnSums<Gpu> sums(gpu_);
    ColumnSum(gpu_, rows, kRows, n, y.data(), &sums);
    sums.Finish();
    EXPECT_TRUE(Identical(y.host(), std::vector<float>(n, 2.0f * ToFloat(kNumber))));
  }
}

TEST_F(LargeRowsTest, ArePackedAndUnpacked) {
  const std::vector<int32_t> indices = {kRows - 1, 0, -1};
  const auto rows = test::Random<float16>(3 * n, 1);
  const test::GpuNumbers<int32_t> index(indices);
  const test::GpuNumbers<float16> from(rows);
  UnpackRows(gpu_, from.data(), index.data(), 3, n * sizeof(float16), kRows, x());
  const auto row = [&](int64_t i) {
    return std::vector<float16>(rows.begin() + i * n, rows.begin() + (i + 1) * n);
  };
  const std::vector<float16> zeros(n);
  EXPECT_TRUE(Identical(Host(x() + (kRows - 1) * n, n), row(0)));
  EXPECT_TRUE(Identical(Host(x(), n), row(1)));
  EXPECT_TRUE(Identical(Host(x() + (kRows - 2) * n, n), zeros));
  test::GpuNumbers<float16> packed(test::Unwritten<float16>(3 * n));
  PackRows(gpu_, x(), kRows, index.data(), 3, n * sizeof(float16), packed.data());
  auto expected = rows;
  std::copy(zeros.begin(), zeros.end(), expected.begin() + 2 * n);
  EXPECT_TRUE(Identical(packed.host(), expected));
}

TEST_F(LargeRowsTest, AreAppendedTo) {
  const auto rows = test::Random<float16>(n, 2);
  const test::GpuNumbers<float16> added(rows);
  const test::GpuMemory memory = test::AllocateGpu((kRows + 1) * n * sizeof(float16));
  auto* const y = static_cast<float16*>(memory.get());
  AppendRows<float16>(gpu_, x(), 1, kRows, {added.data(), n}, 1, n, y);
  EXPECT_TRUE(Identical(Host(y + (kRows - 1) * n, n), std::vector<float16>(n, kNumber)));
  EXPECT_TRUE(Identical(Host(y + kRows * n, n), rows));
}

// A table, with a gradient of all of it or of its last row, which comes twice.
TEST_F(LargeRowsTest, AreUpdated) {
  constexpr int64_t kSize = kRows * n;
  constexpr size_t kTableBytes = kSize * sizeof(float);
  const test::GpuMemory table = test::AllocateGpu(4 * kTableBytes);
  float* const numbers = static_cast<float*>(table.get());
  float number;  // of which variable, moments and gradient consist
  std::memset(&number, 0x3c, sizeof(number));
  const test::GpuNumbers<int64_t> last({kRows - 1, kRows - 1});
  test::GpuNumbers<unsigned char> finite({0});
  test::GpuNumbers<float> norm({0.0f});
  test::GpuNumbers<int64_t> bad_row({0});
  AdamOptions options;
  options.skip_nonfinite = true;
  for (const bool sparse : {false, true}) {
    CheckCuda(cudaMemset(numbers, 0x3c, 4 * kTableBytes));
    AdamVariable variable = {numbers, numbers + kSize,    numbers + 2 * kSize, kSize,
                             0.0f,    numbers + 3 * kSize};
    if (sparse) {
      variable.sparse = true;
      variable.indices = last.data();
      variable.row_count = 2;
      variable.row_size = n;
    }
    Adam(gpu_, options, {variable}, reinterpret_cast<bool*>(finite.data()), norm.data(),
         bad_row.data());
    EXPECT_EQ(finite.host()[0], 1);
    EXPECT_EQ(bad_row.host()[0], -1);
    EXPECT_NEAR(norm.host()[0] / (number * std::sqrt(sparse ? 2.0 * n : 1.0 * kSize)), 1.0, 1e-6);
    for (const int64_t row : {int64_t{0}, kRows / 2, kRows - 1}) {
      const double g = !sparse ? number : row < kRows - 1 ? 0.0 : 2.0 * number;
      const double m = number + (g - number) * (1.0 - options.beta1);
      const double v = number + (g * g - number) * (1.0 - options.beta2);
      const double rate = options.learning_rate * std::sqrt(1.0 - options.beta2_power) /
                          (1.0 - options.beta1_power);
      const double x = number - rate * m / (std::sqrt(v) + options.epsilon);
      int64_t part = 0;
      for (const double expected : {x, m, v}) {
        EXPECT_TRUE(test::Close(Host(numbers + part++ * kSize + row * n, n),
                                std::vector<double>(n, expected)))
            << "row " << row << ", " << part;
      }
    }
  }
}

}  // namespace
}  // namespace tf_ls
