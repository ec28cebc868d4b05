#include "cc/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/ragged.h"
#include "cc/testing/reference_attention.h"
#include "cc/testing/test_cpu.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::Identical;
using test::Ragged;
using test::Random;
using test::TestCpu;
using test::Unwritten;

constexpr float kRate = 0.3f;

template <typename T>
class AttentionTest : public ::testing::Test {
 protected:
  struct Case {
    Ragged queries;
    Ragged keys;
    int64_t heads = 2;
    int64_t head_size = 5;
    bool causal = false;
    int64_t lag = kNoLag;
    float rate = 0.0f;

    AttentionShape shape() const {
      return {heads, head_size, queries.view(), keys.view(), causal, lag};
    }
    Dropout dropout() const { return {rate, 77, DropoutSite::kSelfAttentionWeights}; }
  };

  // What goes in, [rows, hidden_size] each.
  struct Inputs {
    explicit Inputs(const AttentionShape& shape)
        : q(Random<T>(shape.queries.rows * shape.hidden_size(), 1, 2.0)),
          k(Random<T>(shape.keys.rows * shape.hidden_size(), 2, 2.0)),
          v(Random<T>(shape.keys.rows * shape.hidden_size(), 3)),
          dout(Random<T>(shape.queries.rows * shape.hidden_size(), 4)) {}
    std::vector<T> q, k, v, dout;
  };

  struct Outputs {
    std::vector<T> out, dq, dk, dv;
  };

  static Outputs Run(const Case& c, const Inputs& inputs, int threads = 2) {
    const AttentionShape shape = c.shape();
    const int64_t n = shape.hidden_size();
    const TestCpu cpu(threads);
    const HeadRows<const T> q = {inputs.q.data(), n};
    const HeadRows<const T> k = {inputs.k.data(), n};
    const HeadRows<const T> v = {inputs.v.data(), n};
    Outputs outputs;
    outputs.out = Unwritten<T>(inputs.q.size());
    outputs.dq = Unwritten<T>(inputs.q.size());
    outputs.dk = Unwritten<T>(inputs.k.size());
    outputs.dv = Unwritten<T>(inputs.v.size());
    auto log_sums = Unwritten<float>(shape.heads * shape.queries.rows);
    Attention<T>(cpu, shape, c.dropout(), q, k, v, outputs.out.data(), log_sums.data());
    AttentionGradient<T>(cpu, shape, c.dropout(), q, k, v, log_sums.data(), inputs.dout.data(),
                         {outputs.dq.data(), n}, {outputs.dk.data(), n}, {outputs.dv.data(), n});
    return outputs;
  }

  // Compares with the definition, without and with dropout.
  static void Check(Case c) {
    for (const float rate : {0.0f, kRate}) {
      c.rate = rate;
      SCOPED_TRACE(std::to_string(c.heads) + " heads of " + std::to_string(c.head_size) +
                   ", dropout " + std::to_string(rate));
      const Inputs inputs(c.shape());
      const Outputs actual = Run(c, inputs);
      const test::ReferenceAttention expected(c.shape(), c.dropout(), Convert<double>(inputs.q),
                                              Convert<double>(inputs.k), Convert<double>(inputs.v),
                                              Convert<double>(inputs.dout));
      constexpr double kGradientTolerance = std::is_same<T, float>::value ? 1e-5 : 4e-3;
      EXPECT_TRUE(Close(actual.out, expected.out));
      EXPECT_TRUE(Close(actual.dq, expected.dq, kGradientTolerance));
      EXPECT_TRUE(Close(actual.dk, expected.dk, kGradientTolerance));
      EXPECT_TRUE(Close(actual.dv, expected.dv, kGradientTolerance));
    }
  }

  static Case Self(const Ragged& sentences) { return {sentences, sentences}; }
};

using Types = ::testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(AttentionTest, Types);

TYPED_TEST(AttentionTest, OfOneWordIsItsValue) {
  auto c = TestFixture::Self(Ragged({1}));
  const typename TestFixture::Inputs inputs(c.shape());
  EXPECT_TRUE(Identical(TestFixture::Run(c, inputs).out, inputs.v));
}

TYPED_TEST(AttentionTest, TakesSentencesOfAnyLength) {
  TestFixture::Check(TestFixture::Self(Ragged({3, 1, 17, 2, 16, 15})));
  TestFixture::Check(TestFixture::Self(Ragged({47, 48, 49})));
  TestFixture::Check(TestFixture::Self(Ragged({130})));
}

TYPED_TEST(AttentionTest, TakesHeadsOfAnySize) {
  for (const int64_t head_size : {1, 5, 16, 33, 64}) {
    for (const int64_t heads : {1, 3}) {
      auto c = TestFixture::Self(Ragged({4, 19}));
      c.head_size = head_size;
      c.heads = heads;
      TestFixture::Check(c);
    }
  }
}

TYPED_TEST(AttentionTest, TakesEmptySentences) {
  TestFixture::Check(TestFixture::Self(Ragged({0, 3, 0, 2, 0})));
  TestFixture::Check({Ragged({2, 0, 3}), Ragged({0, 4, 5})});
}

TYPED_TEST(AttentionTest, TakesNoSentences) {
  TestFixture::Check(TestFixture::Self(Ragged(std::vector<int32_t>{})));
  TestFixture::Check(TestFixture::Self(Ragged(std::vector<int32_t>{}).WithTail(3)));
}

TYPED_TEST(AttentionTest, DoesNotAttendBehindTheLength) {
  TestFixture::Check(TestFixture::Self(Ragged({4, 20, 5}, {3, 17, 0})));
  auto causal = TestFixture::Self(Ragged({4, 20, 5}, {3, 17, 0}));
  causal.causal = true;
  TestFixture::Check(causal);
}

TYPED_TEST(AttentionTest, NeverReadsBehindTheLength) {
  const auto c = TestFixture::Self(Ragged({4}, {2}));
  typename TestFixture::Inputs inputs(c.shape());
  const auto clean = TestFixture::Run(c, inputs);
  const int64_t used = 2 * c.shape().hidden_size();
  const auto poison = Unwritten<TypeParam>(inputs.k.size());
  std::copy(poison.begin() + used, poison.end(), inputs.k.begin() + used);
  std::copy(poison.begin() + used, poison.end(), inputs.v.begin() + used);
  EXPECT_TRUE(Identical(TestFixture::Run(c, inputs).out, clean.out));
  EXPECT_TRUE(Identical(TestFixture::Run(c, inputs).dq, clean.dq));
}

TYPED_TEST(AttentionTest, ZeroesTheRowsOfNoSentence) {
  const auto c = TestFixture::Self(Ragged({3, 2}).WithTail(4));
  TestFixture::Check(c);
  const auto outputs = TestFixture::Run(c, typename TestFixture::Inputs(c.shape()));
  const int64_t tail = 4 * c.shape().hidden_size();
  for (const auto* rows : {&outputs.out, &outputs.dq, &outputs.dk, &outputs.dv}) {
    EXPECT_TRUE(Identical(std::vector<TypeParam>(rows->end() - tail, rows->end()),
                          std::vector<TypeParam>(tail)));
  }
}

TYPED_TEST(AttentionTest, LooksBackOnlyWhenCausal) {
  auto c = TestFixture::Self(Ragged({1, 5, 0, 20, 60}).WithTail(2));
  c.causal = true;
  TestFixture::Check(c);
}

TYPED_TEST(AttentionTest, LetsTheLastOfFewQueriesSeeAllKeys) {
  typename TestFixture::Case c{Ragged({1, 2, 3, 3}), Ragged({4, 4, 20, 3})};
  c.causal = true;
  TestFixture::Check(c);
}

TYPED_TEST(AttentionTest, GivesZerosToQueriesBeforeTheFirstKey) {
  typename TestFixture::Case c{Ragged({5, 50}), Ragged({2, 1})};
  c.causal = true;
  TestFixture::Check(c);
}

TYPED_TEST(AttentionTest, TakesQueriesAndKeysOfDifferentSentences) {
  TestFixture::Check({Ragged({3, 50, 1}).WithTail(1), Ragged({7, 2, 33}, {7, 1, 30}).WithTail(5)});
}

TYPED_TEST(AttentionTest, WaitsForTheLag) {
  for (const int64_t lag : {0, 1, 3, 100, -2}) {
    typename TestFixture::Case c{Ragged({5, 60, 2}), Ragged({7, 40, 1}, {6, 40, 1})};
    c.lag = lag;
    TestFixture::Check(c);
    auto causal = TestFixture::Self(Ragged({5, 60, 2}));
    causal.causal = true;
    causal.lag = lag;
    TestFixture::Check(causal);
  }
}

TYPED_TEST(AttentionTest, ReadsAndWritesRowsInsideWiderOnes) {
  auto c = TestFixture::Self(Ragged({3, 6}).WithTail(2));
  c.rate = kRate;
  const AttentionShape shape = c.shape();
  const int64_t n = shape.hidden_size();
  const int64_t rows = shape.queries.rows;
  const typename TestFixture::Inputs inputs(shape);
  const auto expected = TestFixture::Run(c, inputs);

  // Queries, keys and values side by side, as one product makes them.
  std::vector<TypeParam> qkv;
  const auto append_rows = [&](std::vector<TypeParam>* to, const std::vector<TypeParam>& a,
                               const std::vector<TypeParam>& b, const std::vector<TypeParam>& c) {
    for (int64_t i = 0; i < rows; ++i) {
      for (const auto* part : {&a, &b, &c}) {
        to->insert(to->end(), part->begin() + i * n, part->begin() + (i + 1) * n);
      }
    }
  };
  append_rows(&qkv, inputs.q, inputs.k, inputs.v);
  const auto part = [&](int64_t i) { return HeadRows<const TypeParam>{qkv.data() + i * n, 3 * n}; };
  auto out = Unwritten<TypeParam>(rows * n);
  auto dqkv = Unwritten<TypeParam>(rows * 3 * n);
  std::vector<float> log_sums(shape.heads * rows);
  const TestCpu cpu;
  Attention<TypeParam>(cpu, shape, c.dropout(), part(0), part(1), part(2), out.data(),
                       log_sums.data());
  AttentionGradient<TypeParam>(cpu, shape, c.dropout(), part(0), part(1), part(2), log_sums.data(),
                               inputs.dout.data(), {dqkv.data(), 3 * n}, {dqkv.data() + n, 3 * n},
                               {dqkv.data() + 2 * n, 3 * n});
  std::vector<TypeParam> expected_dqkv;
  append_rows(&expected_dqkv, expected.dq, expected.dk, expected.dv);
  EXPECT_TRUE(Identical(out, expected.out));
  EXPECT_TRUE(Identical(dqkv, expected_dqkv));
}

TYPED_TEST(AttentionTest, DoesNotDependOnTheNumberOfThreads) {
  auto c = TestFixture::Self(Ragged({50, 3, 70, 1, 20}).WithTail(3));
  c.causal = true;
  c.rate = kRate;
  const typename TestFixture::Inputs inputs(c.shape());
  const auto one = TestFixture::Run(c, inputs, 1);
  const auto three = TestFixture::Run(c, inputs, 3);
  EXPECT_TRUE(Identical(one.out, three.out));
  EXPECT_TRUE(Identical(one.dq, three.dq));
  EXPECT_TRUE(Identical(one.dk, three.dk));
  EXPECT_TRUE(Identical(one.dv, three.dv));
}

TYPED_TEST(AttentionTest, DoesNotDependOnTheOtherSentences) {
  const auto both = TestFixture::Self(Ragged({6, 20}));
  const typename TestFixture::Inputs inputs(both.shape());
  auto first = inputs;
  const int64_t count = 6 * both.shape().hidden_size();
  for (auto* rows : {&first.q, &first.k, &first.v, &first.dout}) rows->resize(count);
  auto expected = TestFixture::Run(both, inputs).out;
  expected.resize(count);
  EXPECT_TRUE(Identical(TestFixture::Run(TestFixture::Self(Ragged({6})), first).out, expected));
}

TYPED_TEST(AttentionTest, PropagatesNaNWithinTheSentence) {
  const auto c = TestFixture::Self(Ragged({3, 2}));
  typename TestFixture::Inputs inputs(c.shape());
  const int64_t n = c.shape().hidden_size();
  test::Assign(std::nan(""), &inputs.k[n]);  // the second word's first head
  const auto out = TestFixture::Run(c, inputs).out;
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      EXPECT_EQ(std::isnan(test::Value(out[i * n + j])), i < 3 && j < c.head_size);
    }
  }
}

TYPED_TEST(AttentionTest, TakesLargeScores) {
  const auto c = TestFixture::Self(Ragged({3}));
  typename TestFixture::Inputs inputs(c.shape());
  for (auto* rows : {&inputs.q, &inputs.k}) {
    for (TypeParam& value : *rows) test::Assign(test::Value(value) * 1e10, &value);
  }
  const auto outputs = TestFixture::Run(c, inputs);
  for (const auto* rows : {&outputs.out, &outputs.dv}) {
    for (const TypeParam value : *rows) EXPECT_LT(std::fabs(test::Value(value)), 4.0);
  }
}

}  // namespace
}  // namespace tf_ls
