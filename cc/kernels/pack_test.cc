#include "cc/kernels/pack.h"

#include <cmath>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Identical;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

constexpr int64_t kPositions = 7;
const std::vector<int32_t> kIndices = {5, -1, 0, 1, 6, -1};

// Lengths of rows, with and without a vector's multiple.
constexpr int64_t kLengths[] = {1, 3, 8, 21, 64, 520, 1001};

template <typename DeviceAndType>
class PackTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  std::vector<T> Pack(const std::vector<T>& x, const std::vector<int32_t>& indices, int64_t n) {
    const Numbers<T> from(x);
    const Numbers<int32_t> index(indices);
    Numbers<T> y(Unwritten<T>(indices.size() * n));
    PackRows(device_, from.data(), x.size() / n, index.data(), indices.size(), n * sizeof(T),
             y.data());
    return y.host();
  }

  std::vector<T> Unpack(const std::vector<T>& x, const std::vector<int32_t>& indices, int64_t n,
                        int64_t positions) {
    const Numbers<T> from(x);
    const Numbers<int32_t> index(indices);
    Numbers<T> y(Unwritten<T>(positions * n));
    UnpackRows(device_, from.data(), index.data(), indices.size(), n * sizeof(T), positions,
               y.data());
    return y.host();
  }

  const typename Testing<Device>::Instance test_device_;
  const Device& device_ = test_device_;
};

TYPED_TEST_SUITE(PackTest, test::DeviceTypes);

TYPED_TEST(PackTest, TakesRowsFromTheirPositions) {
  using T = typename TestFixture::T;
  for (const int64_t n : kLengths) {
    const auto x = Random<T>(kPositions * n, 1);
    std::vector<T> expected(kIndices.size() * n);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (kIndices[i / n] >= 0) expected[i] = x[kIndices[i / n] * n + i % n];
    }
    EXPECT_TRUE(Identical(this->Pack(x, kIndices, n), expected)) << n;
  }
}

TYPED_TEST(PackTest, PutsRowsBack) {
  using T = typename TestFixture::T;
  for (const int64_t n : kLengths) {
    const auto x = Random<T>(kIndices.size() * n, 2);
    std::vector<T> expected(kPositions * n);
    for (size_t i = 0; i < x.size(); ++i) {
      if (kIndices[i / n] >= 0) expected[kIndices[i / n] * n + i % n] = x[i];
    }
    EXPECT_TRUE(Identical(this->Unpack(x, kIndices, n, kPositions), expected)) << n;
  }
}

TYPED_TEST(PackTest, TakesManyRows) {
  using T = typename TestFixture::T;
  constexpr int64_t kRows = 1000;
  constexpr int64_t n = 24;
  std::vector<int32_t> indices;
  for (int64_t i = 0; i < kRows; ++i) indices.push_back(i * 7 % kRows);
  const auto x = Random<T>(kRows * n, 3);
  EXPECT_TRUE(Identical(this->Unpack(this->Pack(x, indices, n), indices, n, kRows), x));
}

TYPED_TEST(PackTest, TakesNoRows) {
  using T = typename TestFixture::T;
  EXPECT_TRUE(this->Pack({}, {}, 5).empty());
  EXPECT_TRUE(Identical(this->Pack({}, {-1, -1}, 5), std::vector<T>(10)));
  EXPECT_TRUE(this->Unpack({}, {}, 5, 0).empty());
  EXPECT_TRUE(Identical(this->Unpack({}, {}, 5, 2), std::vector<T>(10)));
}

TYPED_TEST(PackTest, OfAnIndexOutOfRangeIsNaN) {
  using T = typename TestFixture::T;
  const auto x = Random<T>(2 * 8, 4);
  for (const int32_t wrong : {2, -2, INT32_MAX, INT32_MIN}) {
    const auto y = this->Pack(x, {wrong, 1}, 8);
    for (int64_t j = 0; j < 8; ++j) {
      EXPECT_TRUE(std::isnan(Value(y[j]))) << wrong;
      EXPECT_EQ(Value(y[8 + j]), Value(x[8 + j]));
    }
  }
}

TYPED_TEST(PackTest, LeavesOutWhatHasAnIndexOutOfRange) {
  using T = typename TestFixture::T;
  const auto x = Random<T>(2 * 8, 5);
  std::vector<T> expected(3 * 8);
  std::copy(x.begin() + 8, x.end(), expected.begin() + 8);
  for (const int32_t wrong : {3, -2, INT32_MAX, INT32_MIN}) {
    EXPECT_TRUE(Identical(this->Unpack(x, {wrong, 1}, 8, 3), expected)) << wrong;
  }
}

}  // namespace
}  // namespace tf_ls
