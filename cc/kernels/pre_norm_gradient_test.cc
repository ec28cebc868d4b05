#include "cc/kernels/pre_norm_gradient.h"

#include <utility>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/devices.h"
#include "cc/testing/dropout_mask.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::DropoutFactors;
using test::Identical;
using test::Random;
using test::Testing;
using test::Unwritten;
using test::Value;

const Dropout kDropouts[] = {{}, {0.3f, 0xfedcba9876543210, DropoutSite::kFfnOutput}};

template <typename DeviceAndType>
class PreNormGradientTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  struct Result {
    std::vector<T> normalized, doutput;
    std::vector<float> dbias;
  };

  // Of random rows of n numbers, with their formulas in double precision in `expected`.
  struct Problem {
    Problem(int64_t rows, int64_t n, const Dropout& dropout)
        : rows(rows),
          n(n),
          dropout(dropout),
          x(Random<T>(rows * n, 1, 2.0)),
          dy(Random<T>(rows * n, 2)),
          gamma(Random<float>(n, 3)),
          beta(Random<float>(n, 4)),
          mean(Random<float>(rows, 5)),
          inverse_deviation(Random<float>(rows, 6)),
          doutput(DropoutFactors(dropout, rows, n)),
          dbias(n, 0.0) {
      for (int64_t i = 0; i < rows * n; ++i) {
        const int64_t row = i / n, column = i % n;
        normalized.push_back((Value(x[i]) - mean[row]) * inverse_deviation[row] * gamma[column] +
                             beta[column]);
        doutput[i] *= Value(dy[i]);
        dbias[column] += doutput[i];
      }
    }

    const int64_t rows, n;
    const Dropout dropout;
    const std::vector<T> x, dy;
    const std::vector<float> gamma, beta, mean, inverse_deviation;
    std::vector<double> normalized, doutput, dbias;
  };

  static Result Run(const Problem& p, int threads = 2) {
    const typename Testing<Device>::Instance test_device(threads);
    const Device& device = test_device;
    const Numbers<T> x(p.x), dy(p.dy);
    const Numbers<float> gamma(p.gamma), beta(p.beta);
    Numbers<float> mean(p.mean), inverse_deviation(p.inverse_deviation);
    Numbers<T> normalized(Unwritten<T>(p.x.size())), doutput(Unwritten<T>(p.x.size()));
    Numbers<float> dbias(Unwritten<float>(p.n));
    ColumnSums<Device> sums(device);
    PreNormGradient(device, x.data(), gamma.data(), beta.data(),
                    {mean.data(), inverse_deviation.data()}, p.dropout, dy.data(), p.rows, p.n,
                    normalized.data(), doutput.data(), dbias.data(), &sums);
    sums.Finish();
    return {normalized.host(), doutput.host(), dbias.host()};
  }
};

TYPED_TEST_SUITE(PreNormGradientTest, test::DeviceTypes);

TYPED_TEST(PreNormGradientTest, NormalizesDropsAndSums) {
  const std::pair<int64_t, int64_t> sizes[] = {{1, 1},   {2, 3},    {7, 16},    {8, 100},
                                               {9, 512}, {65, 257}, {300, 264}, {5000, 40}};
  for (const auto& size : sizes) {
    for (const Dropout& dropout : kDropouts) {
      const typename TestFixture::Problem problem(size.first, size.second, dropout);
      const auto result = TestFixture::Run(problem);
      EXPECT_TRUE(Close(result.normalized, problem.normalized));
      EXPECT_TRUE(Close(result.doutput, problem.doutput));
      EXPECT_TRUE(Close(result.dbias, problem.dbias, 1e-5))
          << size.first << " rows of " << size.second;
    }
  }
}

TYPED_TEST(PreNormGradientTest, OfNoRowsIsZero) {
  const typename TestFixture::Problem problem(0, 20, kDropouts[1]);
  EXPECT_TRUE(Identical(TestFixture::Run(problem).dbias, std::vector<float>(20, 0.0f)));
}

TYPED_TEST(PreNormGradientTest, DoesNotDependOnTheNumberOfThreads) {
  const typename TestFixture::Problem problem(1000, 33, kDropouts[1]);
  const auto one = TestFixture::Run(problem, 1);
  const auto three = TestFixture::Run(problem, 3);
  EXPECT_TRUE(Identical(one.normalized, three.normalized));
  EXPECT_TRUE(Identical(one.doutput, three.doutput));
  EXPECT_TRUE(Identical(one.dbias, three.dbias));
}

}  // namespace
}  // namespace tf_ls
