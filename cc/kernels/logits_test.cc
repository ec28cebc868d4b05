#include "cc/kernels/logits.h"

#include <algorithm>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

template <typename DeviceAndType>
class LogitsTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  // Pieces of `piece` words together must be the whole product.
  void Check(int64_t rows, int64_t hidden, int64_t vocab, int64_t piece, bool with_bias) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << hidden << " x " << vocab);
    const auto x = Random<T>(rows * hidden, 1);
    // Weights that all types hold exactly, so that only the logits' own rounding shows.
    const auto weights = Convert<float>(Random<T>(vocab * hidden, 2));
    const auto bias = Random<float>(vocab, 3);
    const Numbers<T> x_there(x);
    const Numbers<float> weights_there(weights), bias_there(bias);
    const OutputLayer layer = {weights_there.data(), with_bias ? bias_there.data() : nullptr,
                               hidden, vocab};
    const int64_t stride = LogitStride(device_, piece);
    std::vector<float> actual;
    std::vector<double> expected;
    for (int64_t first = 0; first < vocab; first += piece) {
      const int64_t count = std::min(piece, vocab - first);
      const int64_t piece_stride = LogitStride(device_, count);
      ASSERT_LE(piece_stride, stride);
      Numbers<float> logits(Unwritten<float>(rows * stride));
      Logits(device_, x_there.data(), layer,
             {logits.data(), piece_stride, rows, first, count, vocab});
      const auto host = logits.host();
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < count; ++j) {
          actual.push_back(host[i * piece_stride + j]);
          double sum = with_bias ? bias[first + j] : 0.0;
          for (int64_t k = 0; k < hidden; ++k) {
            sum += Value(x[i * hidden + k]) * weights[(first + j) * hidden + k];
          }
          expected.push_back(sum);
        }
      }
    }
    EXPECT_TRUE(Close(actual, expected));  // as exact as float32 is
  }

  const typename Testing<Device>::Instance test_device_;
  const Device& device_ = test_device_;
};
TYPED_TEST_SUITE(LogitsTest, test::DeviceTypes);

TYPED_TEST(LogitsTest, AreFloat32WhateverTheTypeOfTheRows) {
  for (const bool with_bias : {false, true}) {
    this->Check(1, 8, 64, 64, with_bias);
    this->Check(5, 24, 301, 301, with_bias);
    this->Check(70, 16, 33, 33, with_bias);
    this->Check(3, 1, 1, 1, with_bias);
  }
}

TYPED_TEST(LogitsTest, ComeInPieces) {
  this->Check(3, 24, 700, 256, true);
  this->Check(9, 8, 512, 256, false);
}

TYPED_TEST(LogitsTest, TakeNoRows) { this->Check(0, 8, 16, 16, true); }

}  // namespace
}  // namespace tf_ls
