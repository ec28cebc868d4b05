#include "cc/kernels/loss_factor.h"

#include <cmath>
#include <limits>
#include <vector>

#include "cc/testing/devices.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Testing;

constexpr int64_t kPositions = 5003;
constexpr int64_t kRows = 3000;

template <typename DeviceAndType>
class LossFactorTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  // Rows at every position that is no multiple of 4, every fifth of which does not count.
  LossFactorTest() : weights_(kPositions, 0.5f), dlosses_(kPositions, 2.5f), dnlls_(kPositions) {
    for (int32_t i = 0; static_cast<int64_t>(indices_.size()) < kRows; ++i) {
      indices_.push_back(i % 4 == 0 ? -1 : i);
    }
    for (int64_t i = 0; i < kPositions; i += 5) weights_[i] = 0.0f;
  }

  LossFactor Find() {
    const typename Testing<Device>::Instance test_device;
    const Device& device = test_device;
    const Numbers<int32_t> indices(indices_);
    const Numbers<float> weights(weights_), dlosses(dlosses_), dnlls(dnlls_);
    Numbers<LossFactor> factor(std::vector<LossFactor>{{-1, std::nanf("")}});
    const OutputProjectionShape shape = {static_cast<int64_t>(indices_.size()), 8, 100, kPositions,
                                         indices.data()};
    const CrossEntropyTargets targets = {kPositions, 100, nullptr, weights.data(), 0.0f};
    FindLossFactor(device, shape, targets, dlosses.data(), dnlls.data(), factor.data());
    return factor.host()[0];
  }

  void ExpectFactor(float value) {
    const LossFactor factor = Find();
    EXPECT_EQ(factor.exists, 1);
    EXPECT_EQ(factor.value, value);
  }

  std::vector<int32_t> indices_;
  std::vector<float> weights_, dlosses_, dnlls_;
};

TYPED_TEST_SUITE(LossFactorTest, test::DeviceTypes);

TYPED_TEST(LossFactorTest, IsWhatAllGradientsAre) {
  this->ExpectFactor(2.5f);
  this->dlosses_.assign(kPositions, -3e38f);
  this->ExpectFactor(-3e38f);
}

TYPED_TEST(LossFactorTest, DoesNotExistIfOneIsAnother) {
  for (const int64_t position : {1, 2, 1027, 2999}) {
    for (const float other :
         {2.4999998f, 0.0f, -2.5f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
      this->dlosses_[position] = other;
      EXPECT_EQ(this->Find().exists, 0) << position;
      this->dlosses_[position] = 2.5f;
    }
  }
  this->ExpectFactor(2.5f);
}

TYPED_TEST(LossFactorTest, DoesNotExistIfLikelihoodsCount) {
  for (const float dnll : {1e-30f, std::nanf("")}) {
    this->dnlls_[2] = dnll;
    EXPECT_EQ(this->Find().exists, 0);
  }
}

TYPED_TEST(LossFactorTest, IsFinite) {
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    this->dlosses_.assign(kPositions, value);
    EXPECT_EQ(this->Find().exists, 0);
  }
}

TYPED_TEST(LossFactorTest, DoesNotLookAtWhatDoesNotCount) {
  for (const int64_t position : {0, 4, 5, 15, 3001, 5002}) {
    this->dlosses_[position] = 7.0f;
    this->dnlls_[position] = std::nanf("");
  }
  this->ExpectFactor(2.5f);
}

TYPED_TEST(LossFactorTest, OfNothingIsZero) {
  this->weights_.assign(kPositions, 0.0f);
  this->ExpectFactor(0.0f);
  this->indices_.assign(7, -1);
  this->ExpectFactor(0.0f);
  this->indices_.clear();
  this->ExpectFactor(0.0f);
}

}  // namespace
}  // namespace tf_ls
