#include "cc/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/testing/closeness.h"
#include "cc/testing/device_ragged.h"
#include "cc/testing/devices.h"
#include "cc/testing/ragged.h"
#include "cc/testing/reference_attention.h"
#include "cc/testing/values.h"
#include "gtest/gtest.h"

namespace tf_ls {
namespace {

using test::Close;
using test::Convert;
using test::Identical;
using test::Ragged;
using test::Random;
using test::Testing;
using test::Unwritten;

constexpr float kRate = 0.3f;

template <typename DeviceAndType>
class AttentionTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;

  struct Case {
    Ragged queries;
    Ragged keys;
    int64_t heads = 2;
    int64_t head_size = 5;
    bool causal = false;
    int64_t lag = kNoLag;
    float rate = 0.0f;

    AttentionShape shape() const { return ShapeOf(queries.view(), keys.view()); }
    AttentionShape ShapeOf(const Sentences& query_rows, const Sentences& key_rows) const {
      return {heads, head_size, query_rows, key_rows, causal, lag};
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

  // Calls function(device, shape), the shape with rows that the device can read.
  template <typename Function>
  static void OnDevice(const Case& c, int threads, const Function& function) {
    const typename Testing<Device>::Instance instance(threads);
    const test::DeviceRagged<Device> queries(c.queries), keys(c.keys);
    function(static_cast<const Device&>(instance), c.ShapeOf(queries.view(), keys.view()));
  }

  static Outputs Run(const Case& c, const Inputs& inputs, int threads = 2) {
    Outputs outputs;
    OnDevice(c, threads, [&](const Device& device, const AttentionShape& shape) {
      const int64_t n = shape.hidden_size();
      const Numbers<T> q(inputs.q), k(inputs.k), v(inputs.v), dout(inputs.dout);
      Numbers<T> out(Unwritten<T>(inputs.q.size())), dk(Unwritten<T>(inputs.k.size()));
      auto dq = out;
      auto dv = dk;
      Numbers<float> log_sums(Unwritten<float>(shape.heads * shape.queries.rows));
      Attention<T>(device, shape, c.dropout(), {q.data(), n}, {k.data(), n}, {v.data(), n},
                   out.data(), log_sums.data());
      AttentionGradient<T>(device, shape, c.dropout(), {q.data(), n}, {k.data(), n}, {v.data(), n},
                           out.data(), log_sums.data(), dout.data(), {dq.data(), n}, {dk.data(), n},
                           {dv.data(), n});
      outputs = {out.host(), dq.host(), dk.host(), dv.host()};
    });
    return outputs;
  }

  // Compares with the definition, without and with dropout.
  static void CheckOne(Case c) {
    for (const float rate : {0.0f, kRate}) {
      c.rate = rate;
      SCOPED_TRACE(std::to_string(c.heads) + " heads of " + std::to_string(c.head_size) +
                   ", dropout " + std::to_string(rate));
      const Inputs inputs(c.shape());
      const Outputs actual = Run(c, inputs);
      const test::ReferenceAttention expected(c.shape(), c.dropout(), Convert<double>(inputs.q),
                                              Convert<double>(inputs.k), Convert<double>(inputs.v),
                                              Convert<double>(inputs.dout));
      EXPECT_TRUE(Close(actual.out, expected.out));
      EXPECT_TRUE(Close(actual.dq, expected.dq, kGradientTolerance));
      EXPECT_TRUE(Close(actual.dk, expected.dk, kGradientTolerance));
      EXPECT_TRUE(Close(actual.dv, expected.dv, kGradientTolerance));
    }
  }

  // Calls function(c) with heads of an odd size and of one that fits tensor cores, which have
  // kernels of their own.
  template <typename Function>
  static void WithHeadSizes(Case c, const Function& function) {
    for (const int64_t head_size : {5, 16}) {
      SCOPED_TRACE("heads of " + std::to_string(head_size));
      c.head_size = head_size;
      function(static_cast<const Case&>(c));
    }
  }

  static void Check(const Case& c) { WithHeadSizes(c, CheckOne); }

  static Case Self(const Ragged& sentences) { return {sentences, sentences}; }

  // GPUs take what a softmax' gradient sums over all keys from the result, which is rounded. Of few
  // keys the gradient is next to nothing, and that rounding shows.
  static constexpr double kGradientTolerance = std::is_same<T, float>::value      ? 1e-5
                                               : std::is_same<T, float16>::value  ? 5e-3
                                               : std::is_same<Device, Cpu>::value ? 4e-3
                                                                                  : 4e-2;
};

TYPED_TEST_SUITE(AttentionTest, test::DeviceTypes);

TYPED_TEST(AttentionTest, OfOneWordIsItsValue) {
  TestFixture::WithHeadSizes(TestFixture::Self(Ragged({1})), [](const auto& c) {
    const typename TestFixture::Inputs inputs(c.shape());
    EXPECT_TRUE(Identical(TestFixture::Run(c, inputs).out, inputs.v));
  });
}

TYPED_TEST(AttentionTest, TakesSentencesOfAnyLength) {
  TestFixture::Check(TestFixture::Self(Ragged({3, 1, 17, 2, 16, 15})));
  TestFixture::Check(TestFixture::Self(Ragged({47, 48, 49})));
  TestFixture::Check(TestFixture::Self(Ragged({130})));
  TestFixture::Check(TestFixture::Self(Ragged({300, 257})));
}

// GPUs take other tiles for other average lengths and sizes of heads.
TYPED_TEST(AttentionTest, TakesHeadsOf64InSentencesOfAnyLength) {
  for (const bool causal : {false, true}) {
    for (const Ragged& sentences :
         {Ragged({20, 0, 32}), Ragged({64, 33}), Ragged({128, 65, 190}), Ragged({129, 270})}) {
      auto c = TestFixture::Self(sentences);
      c.head_size = 64;
      c.causal = causal;
      TestFixture::CheckOne(c);
    }
  }
}

TYPED_TEST(AttentionTest, TakesALongSentenceAmongManyShort) {
  auto c = TestFixture::Self(Ragged({2, 1, 2, 200, 2, 1, 1, 2, 3, 2, 1, 3, 2}));
  TestFixture::Check(c);
  c.causal = true;
  TestFixture::Check(c);
}

TYPED_TEST(AttentionTest, TakesMoreSentencesThanAWarpHasThreads) {
  std::vector<int32_t> rows;
  for (int32_t i = 0; i < 1100; ++i) rows.push_back(i % 3);
  TestFixture::Check(TestFixture::Self(Ragged(rows)));
}

TYPED_TEST(AttentionTest, TakesHeadsOfAnySize) {
  for (const int64_t head_size : {1, 5, 8, 16, 33, 40, 64, 80, 128, 136, 256}) {
    for (const int64_t heads : {1, 3}) {
      auto c = TestFixture::Self(Ragged({4, 19}));
      c.head_size = head_size;
      c.heads = heads;
      TestFixture::CheckOne(c);
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
  TestFixture::WithHeadSizes(TestFixture::Self(Ragged({4}, {2})), [](const auto& c) {
    typename TestFixture::Inputs inputs(c.shape());
    const auto clean = TestFixture::Run(c, inputs);
    const int64_t used = 2 * c.shape().hidden_size();
    const auto poison = Unwritten<typename TestFixture::T>(inputs.k.size());
    std::copy(poison.begin() + used, poison.end(), inputs.k.begin() + used);
    std::copy(poison.begin() + used, poison.end(), inputs.v.begin() + used);
    const auto poisoned = TestFixture::Run(c, inputs);
    EXPECT_TRUE(Identical(poisoned.out, clean.out));
    EXPECT_TRUE(Identical(poisoned.dq, clean.dq));
    EXPECT_TRUE(Identical(poisoned.dk, clean.dk));
    EXPECT_TRUE(Identical(poisoned.dv, clean.dv));
  });
}

TYPED_TEST(AttentionTest, ZeroesTheRowsOfNoSentence) {
  for (const int64_t tail : {4, 150}) {
    const auto sentences = TestFixture::Self(Ragged({3, 2}).WithTail(tail));
    TestFixture::Check(sentences);
    TestFixture::WithHeadSizes(sentences, [tail](const auto& c) {
      const auto outputs = TestFixture::Run(c, typename TestFixture::Inputs(c.shape()));
      const int64_t count = tail * c.shape().hidden_size();
      for (const auto* rows : {&outputs.out, &outputs.dq, &outputs.dk, &outputs.dv}) {
        using Rows = std::vector<typename TestFixture::T>;
        EXPECT_TRUE(Identical(Rows(rows->end() - count, rows->end()), Rows(count)));
      }
    });
  }
}

TYPED_TEST(AttentionTest, LooksBackOnlyWhenCausal) {
  for (const Ragged& sentences : {Ragged({1, 5, 0, 20, 60}), Ragged({200, 140})}) {
    auto c = TestFixture::Self(sentences.WithTail(2));
    c.causal = true;
    TestFixture::Check(c);
  }
}

TYPED_TEST(AttentionTest, LetsTheLastOfFewQueriesSeeAllKeys) {
  typename TestFixture::Case c{Ragged({1, 2, 3, 3, 70}), Ragged({4, 4, 20, 3, 170})};
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
  auto sentences = TestFixture::Self(Ragged({3, 6}).WithTail(2));
  sentences.rate = kRate;
  TestFixture::WithHeadSizes(sentences, [](const auto& c) {
    using T = typename TestFixture::T;
    using Rows = typename TestFixture::template Numbers<T>;
    const int64_t n = c.shape().hidden_size();
    const int64_t rows = c.queries.rows();
    const typename TestFixture::Inputs inputs(c.shape());
    const auto expected = TestFixture::Run(c, inputs);

    // Queries, keys and values side by side, as one product makes them.
    const auto side_by_side = [&](const std::vector<T>& a, const std::vector<T>& b,
                                  const std::vector<T>& c) {
      std::vector<T> all;
      for (int64_t i = 0; i < rows; ++i) {
        for (const auto* part : {&a, &b, &c}) {
          all.insert(all.end(), part->begin() + i * n, part->begin() + (i + 1) * n);
        }
      }
      return all;
    };
    const Rows qkv(side_by_side(inputs.q, inputs.k, inputs.v));
    const Rows dout(inputs.dout);
    Rows out(Unwritten<T>(rows * n)), dqkv(Unwritten<T>(rows * 3 * n));
    typename TestFixture::template Numbers<float> log_sums(Unwritten<float>(c.heads * rows));
    const auto part = [&](int64_t i) { return HeadRows<const T>{qkv.data() + i * n, 3 * n}; };
    const auto dpart = [&](int64_t i) { return HeadRows<T>{dqkv.data() + i * n, 3 * n}; };
    TestFixture::OnDevice(c, 2, [&](const auto& device, const AttentionShape& shape) {
      Attention<T>(device, shape, c.dropout(), part(0), part(1), part(2), out.data(),
                   log_sums.data());
      AttentionGradient<T>(device, shape, c.dropout(), part(0), part(1), part(2), out.data(),
                           log_sums.data(), dout.data(), dpart(0), dpart(1), dpart(2));
      EXPECT_TRUE(Identical(out.host(), expected.out));
      EXPECT_TRUE(Identical(dqkv.host(), side_by_side(expected.dq, expected.dk, expected.dv)));
    });
  });
}

// Nor on which of a GPU's threads come first: two runs give the same.
TYPED_TEST(AttentionTest, DoesNotDependOnTheNumberOfThreads) {
  auto sentences = TestFixture::Self(Ragged({50, 3, 170, 1, 20}).WithTail(3));
  sentences.causal = true;
  sentences.rate = kRate;
  TestFixture::WithHeadSizes(sentences, [](const auto& c) {
    const typename TestFixture::Inputs inputs(c.shape());
    const auto one = TestFixture::Run(c, inputs, 1);
    const auto three = TestFixture::Run(c, inputs, 3);
    EXPECT_TRUE(Identical(one.out, three.out));
    EXPECT_TRUE(Identical(one.dq, three.dq));
    EXPECT_TRUE(Identical(one.dk, three.dk));
    EXPECT_TRUE(Identical(one.dv, three.dv));
  });
}

TYPED_TEST(AttentionTest, DoesNotDependOnTheOtherSentences) {
  TestFixture::WithHeadSizes(TestFixture::Self(Ragged({6, 20})), [](const auto& both) {
    const typename TestFixture::Inputs inputs(both.shape());
    auto first = inputs;
    const int64_t count = 6 * both.shape().hidden_size();
    for (auto* rows : {&first.q, &first.k, &first.v, &first.dout}) rows->resize(count);
    auto expected = TestFixture::Run(both, inputs).out;
    expected.resize(count);
    auto alone = TestFixture::Self(Ragged({6}));
    alone.head_size = both.head_size;
    EXPECT_TRUE(Identical(TestFixture::Run(alone, first).out, expected));
  });
}

TYPED_TEST(AttentionTest, PropagatesNaNWithinTheSentence) {
  TestFixture::WithHeadSizes(TestFixture::Self(Ragged({3, 2})), [](const auto& c) {
    typename TestFixture::Inputs inputs(c.shape());
    const int64_t n = c.shape().hidden_size();
    test::Assign(std::nan(""), &inputs.k[n]);  // the second word's first head
    const auto out = TestFixture::Run(c, inputs).out;
    for (int64_t i = 0; i < 5; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        EXPECT_EQ(std::isnan(test::Value(out[i * n + j])), i < 3 && j < c.head_size);
      }
    }
  });
}

TYPED_TEST(AttentionTest, TakesLargeScores) {
  using T = typename TestFixture::T;
  constexpr double kLarge = std::is_same<T, float16>::value ? 1e4 : 1e10;  // float16 ends at 65504
  TestFixture::WithHeadSizes(TestFixture::Self(Ragged({3, 80})), [&](const auto& c) {
    typename TestFixture::Inputs inputs(c.shape());
    for (auto* rows : {&inputs.q, &inputs.k}) {
      for (T& value : *rows) test::Assign(test::Value(value) * kLarge, &value);
    }
    const auto outputs = TestFixture::Run(c, inputs);
    for (const T value : outputs.out) EXPECT_LE(std::fabs(test::Value(value)), 1.0);
    // Weights are 0 or 1 then, and 80 queries choose among 80 keys.
    for (const T value : outputs.dv) EXPECT_LE(std::fabs(test::Value(value)), 80.0);
  });
}

}  // namespace
}  // namespace tf_ls
