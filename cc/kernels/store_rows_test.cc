#include "cc/kernels/store_rows.h"

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

template <typename DeviceAndType>
class StoreRowsTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  // Rows of keys between others, which lie `stride` numbers apart.
  static void Check(const std::vector<int32_t>& slots, const std::vector<int32_t>& positions,
                    int64_t heads, int64_t head_size, int64_t stride) {
    SCOPED_TRACE(::testing::Message()
                 << slots.size() << " rows of " << heads << " * " << head_size << " in " << stride);
    constexpr int64_t kSlots = 5, kMaxLength = 7;
    const auto count = static_cast<int64_t>(slots.size());
    const auto rows = Random<T>(count * stride, 1);
    auto expected = Random<T>(kSlots * kMaxLength * heads * head_size, 2);
    Numbers<T> cache(expected);  // what nobody's place is is not to be touched
    const auto slots_of = [&](T* data) { return GrowingSlots(data, heads, kMaxLength, head_size); };
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t j = 0; j < head_size; ++j) {
          slots_of(expected.data()).At(slots[i], head, positions[i])[j] =
              rows[i * stride + head * head_size + j];
        }
      }
    }
    const typename Testing<Device>::Instance device;
    const Numbers<T> from(rows);
    const Numbers<int32_t> to_slots(slots), to_positions(positions);
    StoreRows<T>(static_cast<const Device&>(device), {count, to_slots.data(), to_positions.data()},
                 heads, head_size, {from.data(), stride}, slots_of(cache.data()));
    EXPECT_TRUE(Identical(cache.host(), expected));
  }
};

TYPED_TEST_SUITE(StoreRowsTest, test::DeviceTypes);

TYPED_TEST(StoreRowsTest, PutsEachRowIntoItsPlace) {
  TestFixture::Check({0, 0, 0, 4, 4, 2}, {0, 1, 2, 0, 1, 6}, 2, 3, 20);
  TestFixture::Check({3, 1}, {5, 5}, 4, 8, 96);
  TestFixture::Check({3, 1}, {5, 5}, 1, 7, 7);
  TestFixture::Check({1, 2, 3, 0}, {1, 1, 0, 0}, 12, 64, 2304);
}

TYPED_TEST(StoreRowsTest, TakesNoRows) { TestFixture::Check({}, {}, 2, 4, 8); }

}  // namespace
}  // namespace tf_ls
