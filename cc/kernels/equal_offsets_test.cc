#include "cc/kernels/equal_offsets.h"

#include <vector>

#include "cc/testing/devices.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::TestedDevice;
using test::Testing;

using Numbers = Testing<TestedDevice>::Numbers<int32_t>;

constexpr int32_t kUntouched = -7;

TEST(EqualOffsetsTest, PutsSentencesOneBehindTheOther) {
  const Testing<TestedDevice>::Instance device;
  for (const int32_t count : {0, 1, 5, 127, 128, 1000}) {
    for (const int32_t length : {0, 1, 7}) {
      SCOPED_TRACE(::testing::Message() << count << " sentences of " << length);
      std::vector<int32_t> expected_offsets, expected_lengths(count, length);
      for (int32_t i = 0; i <= count; ++i) expected_offsets.push_back(i * length);
      expected_offsets.push_back(kUntouched);
      expected_lengths.push_back(kUntouched);
      Numbers offsets(std::vector<int32_t>(count + 2, kUntouched));
      Numbers lengths(std::vector<int32_t>(count + 1, kUntouched));
      EqualOffsets(device, count, length, offsets.data(), lengths.data());
      EXPECT_EQ(offsets.host(), expected_offsets);
      EXPECT_EQ(lengths.host(), expected_lengths);
    }
  }
}

}  // namespace
}  // namespace tf_ls
