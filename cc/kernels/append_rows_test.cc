#include "cc/kernels/append_rows.h"

#include <algorithm>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Assign;
using test::Identical;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

template <typename DeviceAndType>
class AppendRowsTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  // Sentences of `before` and `added` rows of n numbers, which lie `stride` numbers apart inside
  // wider rows where they come from or go to alone.
  struct Problem {
    int64_t batch, before, added, n, stride;
  };

  // Every small problem, with rows that are multiples of a vector and rows that are not.
  template <typename Check>
  static void ForAll(const Check& check) {
    for (const int64_t batch : {0, 1, 5}) {
      for (const int64_t before : {0, 1, 4}) {
        for (const int64_t added : {0, 1, 3}) {
          for (const auto& size :
               {std::pair<int64_t, int64_t>{6, 20}, {8, 26}, {16, 48}, {7, 7}, {520, 1560}}) {
            SCOPED_TRACE(::testing::Message()
                         << batch << " * (" << before << " + " << added << ") rows of "
                         << size.first << " in " << size.second);
            check(Problem{batch, before, added, size.first, size.second});
          }
        }
      }
    }
  }

  const typename Testing<Device>::Instance test_device_;
  const Device& device_ = test_device_;
};

TYPED_TEST_SUITE(AppendRowsTest, test::DeviceTypes);

TYPED_TEST(AppendRowsTest, PutsNewRowsBehindThoseOfEachSentence) {
  using T = typename TestFixture::T;
  using Numbers = typename TestFixture::template Numbers<T>;
  this->ForAll([&](const typename TestFixture::Problem& p) {
    const auto x = Random<T>(p.batch * p.before * p.n, 1);
    const auto rows = Random<T>(p.batch * p.added * p.stride, 2);
    std::vector<T> expected;
    const auto append = [&](const std::vector<T>& from, int64_t start) {
      expected.insert(expected.end(), from.begin() + start, from.begin() + start + p.n);
    };
    for (int64_t i = 0; i < p.batch; ++i) {
      for (int64_t j = 0; j < p.before; ++j) append(x, (i * p.before + j) * p.n);
      for (int64_t j = 0; j < p.added; ++j) append(rows, (i * p.added + j) * p.stride);
    }
    const Numbers old(x), added(rows);
    Numbers y(Unwritten<T>(p.batch * (p.before + p.added) * p.n));
    AppendRows<T>(this->device_, old.data(), p.batch, p.before, {added.data(), p.stride}, p.added,
                  p.n, y.data());
    EXPECT_TRUE(Identical(y.host(), expected));
  });
}

TYPED_TEST(AppendRowsTest, GradientGoesBackToWhereRowsCameFrom) {
  using T = typename TestFixture::T;
  using Numbers = typename TestFixture::template Numbers<T>;
  this->ForAll([&](const typename TestFixture::Problem& p) {
    const int64_t size = p.batch * (p.before + p.added) * p.n;
    const auto dy1 = Random<T>(size, 1);
    const auto dy2 = Random<T>(size, 2);
    std::vector<T> expected_dx;
    auto expected_drows = Random<T>(p.batch * p.added * p.stride, 3);
    Numbers drows(expected_drows);  // what lies between the rows is not to be touched
    for (int64_t i = 0; i < size; ++i) {
      T sum;
      Assign(Value(dy1[i]) + Value(dy2[i]), &sum);
      const int64_t sentence = i / ((p.before + p.added) * p.n);
      const int64_t row = i / p.n % (p.before + p.added);
      if (row < p.before) {
        expected_dx.push_back(sum);
      } else {
        expected_drows[(sentence * p.added + row - p.before) * p.stride + i % p.n] = sum;
      }
    }
    const Numbers gradient1(dy1), gradient2(dy2);
    Numbers dx(Unwritten<T>(p.batch * p.before * p.n));
    AppendRowsGradient<T>(this->device_, gradient1.data(), gradient2.data(), p.batch, p.before,
                          p.added, p.n, dx.data(), {drows.data(), p.stride});
    EXPECT_TRUE(Identical(dx.host(), expected_dx));
    EXPECT_TRUE(Identical(drows.host(), expected_drows));
  });
}

}  // namespace
}  // namespace tf_ls
