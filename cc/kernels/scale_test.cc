#include "cc/kernels/scale.h"

#include <cmath>
#include <type_traits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Convert;
using test::Identical;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

constexpr float kFactor = 1.7f;

template <typename DeviceAndType>
class ScaleTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  static std::vector<T> Expected(std::vector<float> x) {
    for (float& value : x) value *= kFactor;
    return Convert<T>(x);
  }

  const typename Testing<Device>::Instance test_device_;
  const Device& device_ = test_device_;
};

TYPED_TEST_SUITE(ScaleTest, test::DeviceTypes);

TYPED_TEST(ScaleTest, RoundsOnce) {
  using T = typename TestFixture::T;
  for (const int64_t count : {0, 1, 3, 4, 17, 1024, 5000, 10001}) {
    const auto values = Random<float>(count, 1);
    const typename TestFixture::template Numbers<float> x(values);
    typename TestFixture::template Numbers<T> y(Unwritten<T>(count));
    Scale(this->device_, x.data(), count, kFactor, y.data());
    EXPECT_TRUE(Identical(y.host(), TestFixture::Expected(values))) << count;
  }
}

TYPED_TEST(ScaleTest, TakesNumbersFromAnywhereInMemory) {
  using T = typename TestFixture::T;
  const auto values = Random<float>(65, 2);
  const typename TestFixture::template Numbers<float> x(values);
  typename TestFixture::template Numbers<T> y(Unwritten<T>(65));
  Scale(this->device_, x.data() + 1, 64, kFactor, y.data() + 1);
  const auto result = y.host();
  EXPECT_TRUE(std::isnan(Value(result[0])));
  EXPECT_TRUE(Identical(std::vector<T>(result.begin() + 1, result.end()),
                        TestFixture::Expected({values.begin() + 1, values.end()})));
}

TYPED_TEST(ScaleTest, WorksInPlace) {
  const auto values = Random<float>(5000, 3);
  typename TestFixture::template Numbers<float> x(values);
  Scale(this->device_, x.data(), 5000, 0.5f, x.data());
  auto expected = values;
  for (float& value : expected) value *= 0.5f;
  EXPECT_TRUE(Identical(x.host(), expected));
}

TYPED_TEST(ScaleTest, TakesTheFactorFromTheDevice) {
  using T = typename TestFixture::T;
  const typename TestFixture::template Numbers<float> factor({kFactor});
  for (const int64_t count : {0, 3, 5000}) {
    const auto values = Random<float>(count, 4);
    const typename TestFixture::template Numbers<float> x(values);
    typename TestFixture::template Numbers<T> y(Unwritten<T>(count));
    Scale(this->device_, x.data(), count, factor.data(), y.data());
    EXPECT_TRUE(Identical(y.host(), TestFixture::Expected(values))) << count;
  }
}

}  // namespace
}  // namespace tf_ls
