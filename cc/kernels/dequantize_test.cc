#include "cc/kernels/dequantize.h"

#include <cstdint>
#include <random>
#include <vector>

#include "cc/kernels/cast_weights.h"
#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/test_gpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::GpuNumbers;
using test::Random;
using test::Unwritten;

std::vector<int8_t> RandomNumbers(int64_t count) {
  std::mt19937 generator(count);
  std::vector<int8_t> numbers(count);
  for (int8_t& number : numbers) number = static_cast<int8_t>(generator() % 255 - 127);
  return numbers;
}

template <typename DeviceAndType>
class DequantizeTest : public ::testing::Test {
 protected:
  using T = typename DeviceAndType::Type;
};
TYPED_TEST_SUITE(DequantizeTest, test::DeviceTypes);

TYPED_TEST(DequantizeTest, MultipliesByTheScaleOfTheOutput) {
  using T = typename TestFixture::T;
  for (const int64_t rows : {1, 3, 130}) {
    for (const int64_t columns : {1, 5, 64, 300}) {
      for (const bool transposed : {false, true}) {
        const auto numbers = RandomNumbers(rows * columns);
        const auto scales = Random<float>(transposed ? rows : columns, 1);
        std::vector<double> expected;
        for (int64_t i = 0; i < rows * columns; ++i) {
          expected.push_back(double{scales[transposed ? i / columns : i % columns]} * numbers[i]);
        }
        const test::TestGpu gpu;
        const GpuNumbers<int8_t> from(numbers);
        const GpuNumbers<float> of_outputs(scales);
        GpuNumbers<T> to(Unwritten<T>(rows * columns));
        Dequantize(gpu, {from.data(), of_outputs.data()}, rows, columns, transposed, to.data());
        EXPECT_TRUE(Close(to.host(), expected)) << rows << " x " << columns << ", " << transposed;
      }
    }
  }
}

TYPED_TEST(DequantizeTest, TakesNoNumbers) {
  using T = typename TestFixture::T;
  const test::TestGpu gpu;
  GpuNumbers<T> to({});
  Dequantize(gpu, {nullptr, nullptr}, 0, 3, /*transposed=*/false, to.data());
  Dequantize(gpu, {nullptr, nullptr}, 3, 0, /*transposed=*/true, to.data());
}

// As a loop's weights are prepared: beside weights of other types, found by their addresses.
TYPED_TEST(DequantizeTest, GivesCopiesThatProductsFind) {
  using T = typename TestFixture::T;
  constexpr int64_t kRows = 5, kColumns = 12;
  const auto numbers = RandomNumbers(kRows * kColumns);
  const auto scales = Random<float>(kColumns, 1), vector = Random<float>(kColumns, 2);
  const test::TestGpu plain;
  const GpuNumbers<int8_t> from(numbers);
  const GpuNumbers<float> of_outputs(scales), bias(vector);
  const std::vector<WeightPiece> pieces = {
      {bias.data(), 1, kColumns}, {Int8Numbers{from.data(), of_outputs.data()}, kRows, kColumns}};
  GpuNumbers<unsigned char> memory(
      std::vector<unsigned char>(PlaceCasts<T>(pieces, nullptr, nullptr)));
  WeightCasts casts;
  CastWeights<T>(plain, pieces, memory.data());
  PlaceCasts<T>(pieces, memory.data(), &casts);
  Gpu gpu = plain;
  gpu.weight_casts = &casts;
  const T* const matrix = CastWeight<T>(gpu, pieces[1].name(), kRows * kColumns);
  std::vector<T> found(kRows * kColumns);
  test::CheckCuda(cudaDeviceSynchronize());
  test::CheckCuda(
      cudaMemcpy(found.data(), matrix, found.size() * sizeof(T), cudaMemcpyDeviceToHost));
  std::vector<double> expected;
  for (int64_t i = 0; i < kRows * kColumns; ++i)
    expected.push_back(double{scales[i % kColumns]} * numbers[i]);
  EXPECT_TRUE(Close(found, expected));
}

}  // namespace
}  // namespace tf_ls
