#include "cc/kernels/cached_attention.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "cc/testing/closeness.h"
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

// One place in a cache.
struct Cell {
  int64_t slot, position;
};

template <typename DeviceAndType>
class CachedAttentionTest : public ::testing::Test {
 protected:
  using Device = typename DeviceAndType::Device;
  using T = typename DeviceAndType::Type;
  template <typename U>
  using Numbers = typename Testing<Device>::template Numbers<U>;
  using Ints = std::vector<int32_t>;

  // What rows of one query attend to in double precision, given the keys and values that each row
  // sees, one row's behind the other's.
  static std::vector<double> Expected(const CachedAttentionShape& shape, const Ints& lengths,
                                      const std::vector<T>& q, const std::vector<T>& keys,
                                      const std::vector<T>& values) {
    const Ragged queries(Ints(shape.rows, 1)), seen(lengths);
    const AttentionShape all = {shape.heads,      shape.head_size, queries.view(), seen.view(),
                                /*causal=*/false, kNoLag};
    return test::ReferenceAttention(all, Dropout(), Convert<double>(q), Convert<double>(keys),
                                    Convert<double>(values), std::vector<double>(q.size()))
        .out;
  }

  // Rows first to first + count of a matrix with rows of n.
  template <typename U>
  static void Append(const std::vector<U>& from, int64_t first, int64_t count, int64_t n,
                     std::vector<U>* to) {
    to->insert(to->end(), from.begin() + first * n, from.begin() + (first + count) * n);
  }

  // Rows whose paths lead through random slots, and a cache that holds nothing else.
  struct Beams {
    CachedAttentionShape shape;
    int64_t max_length;
    Ints lengths;
    Ints slots;
    std::vector<T> q, k, v;       // [rows, hidden_size]
    std::vector<T> keys, values;  // the cache before the step
    std::vector<double> out;      // after it
    std::vector<T> all_keys, all_values;

    Beams(const Ints& lengths, int64_t heads, int64_t head_size)
        : shape{static_cast<int64_t>(lengths.size()), heads, head_size},
          max_length(*std::max_element(lengths.begin(), lengths.end()) + 2),
          lengths(lengths),
          slots(shape.rows * max_length, -1),
          q(Random<T>(shape.rows * shape.hidden_size(), 1, 3.0)),
          k(Random<T>(q.size(), 2)),
          v(Random<T>(q.size(), 3)),
          keys(Unwritten<T>((shape.rows + 1) * max_length * shape.hidden_size())),
          values(keys) {
      const int64_t n = shape.hidden_size();
      const auto past_keys = Random<T>(keys.size(), 4), past_values = Random<T>(keys.size(), 5);
      std::vector<T> seen_keys, seen_values;
      std::mt19937 generator(6);
      for (int64_t i = 0; i < shape.rows; ++i) {
        for (int64_t p = 0; p + 1 < lengths[i]; ++p) {
          // A slot at the end is nobody's newest.
          const int64_t slot = p % 3 == 0 ? shape.rows : generator() % (i + 1);
          const bool written = slot == shape.rows || p + 1 < lengths[slot];
          const int64_t from = written ? slot : shape.rows;
          slots[i * max_length + p] = from;
          for (int64_t head = 0; head < heads; ++head) {
            for (int64_t j = 0; j < head_size; ++j) {
              const int64_t at = ((from * heads + head) * max_length + p) * head_size + j;
              seen_keys.push_back(keys[at] = past_keys[at]);
              seen_values.push_back(values[at] = past_values[at]);
            }
          }
        }
        slots[i * max_length + lengths[i] - 1] = i;
        Append(k, i, 1, n, &seen_keys);
        Append(v, i, 1, n, &seen_values);
      }
      out = Expected(shape, lengths, q, seen_keys, seen_values);
      all_keys = keys;
      all_values = values;
      for (int64_t i = 0; i < shape.rows; ++i) {
        for (int64_t at = 0; at < n; ++at) {
          const int64_t to =
              ((i * heads + at / head_size) * max_length + lengths[i] - 1) * head_size +
              at % head_size;
          all_keys[to] = k[i * n + at];
          all_values[to] = v[i * n + at];
        }
      }
    }
  };

  // Queries, keys and values side by side, as one product makes them.
  static std::vector<T> SideBySide(const Beams& beams) {
    const int64_t n = beams.shape.hidden_size();
    std::vector<T> qkv;
    for (int64_t i = 0; i < beams.shape.rows; ++i) {
      for (const auto* part : {&beams.q, &beams.k, &beams.v}) Append(*part, i, 1, n, &qkv);
    }
    return qkv;
  }

  static std::vector<T> RunSelf(const Beams& beams, int threads = 2) {
    const typename Testing<Device>::Instance device(threads);
    const int64_t n = beams.shape.hidden_size();
    const Numbers<T> qkv(SideBySide(beams));
    const Numbers<int32_t> slots(beams.slots), lengths(beams.lengths);
    Numbers<T> keys(beams.keys), values(beams.values), out(Unwritten<T>(beams.q.size()));
    const auto part = [&](int64_t i) { return HeadRows<const T>{qkv.data() + i * n, 3 * n}; };
    const auto cache = [&](Numbers<T>* x) {
      return GrowingSlots(x->data(), beams.shape.heads, beams.max_length, beams.shape.head_size);
    };
    CachedSelfAttention<T>(static_cast<const Device&>(device), beams.shape,
                           {slots.data(), lengths.data(), beams.max_length}, part(0), part(1),
                           part(2), cache(&keys), cache(&values), out.data());
    EXPECT_TRUE(Identical(keys.host(), beams.all_keys));
    EXPECT_TRUE(Identical(values.host(), beams.all_values));
    return out.host();
  }

  static void CheckSelf(const Ints& lengths, int64_t heads, int64_t head_size) {
    SCOPED_TRACE(::testing::Message() << heads << " heads of " << head_size);
    const Beams beams(lengths, heads, head_size);
    EXPECT_TRUE(Close(RunSelf(beams), beams.out));
  }

  // Rows that share the memories of sentences.
  struct Memories {
    CachedAttentionShape shape;
    int64_t length;  // of all memories, with padding
    Ints sentence_of;
    Ints lengths;
    std::vector<T> q, keys, values;

    Memories(const Ints& sentence_of, const Ints& lengths, int64_t heads, int64_t head_size)
        : shape{static_cast<int64_t>(sentence_of.size()), heads, head_size},
          length(*std::max_element(lengths.begin(), lengths.end()) + 1),
          sentence_of(sentence_of),
          lengths(lengths),
          q(Random<T>(shape.rows * shape.hidden_size(), 1, 3.0)),
          keys(Padded(2)),
          values(Padded(3)) {}

    // Padding is not to be read.
    std::vector<T> Padded(uint32_t seed) const {
      const int64_t n = shape.hidden_size();
      auto memory = Random<T>(lengths.size() * length * n, seed);
      const auto padding = Unwritten<T>(length * n);
      for (size_t i = 0; i < lengths.size(); ++i) {
        std::copy(padding.begin() + lengths[i] * n, padding.end(),
                  memory.begin() + (i * length + lengths[i]) * n);
      }
      return memory;
    }

    std::vector<double> Expected() const {
      const int64_t n = shape.hidden_size();
      Ints row_lengths;
      std::vector<T> seen_keys, seen_values;
      for (const int32_t sentence : sentence_of) {
        row_lengths.push_back(lengths[sentence]);
        Append(keys, sentence * length, lengths[sentence], n, &seen_keys);
        Append(values, sentence * length, lengths[sentence], n, &seen_values);
      }
      return CachedAttentionTest::Expected(shape, row_lengths, q, seen_keys, seen_values);
    }

    // [rows, mean_length]
    std::vector<double> ExpectedMeanWeights(int64_t mean_length) const {
      const int64_t n = shape.hidden_size();
      std::vector<double> means(shape.rows * mean_length, 0.0);
      for (int64_t row = 0; row < shape.rows; ++row) {
        const int64_t sentence = sentence_of[row];
        for (int64_t head = 0; head < shape.heads; ++head) {
          std::vector<double> weights(lengths[sentence]);
          double sum = 0.0;
          for (int64_t i = 0; i < lengths[sentence]; ++i) {
            double score = 0.0;
            for (int64_t j = head * shape.head_size; j < (head + 1) * shape.head_size; ++j) {
              score +=
                  test::Value(q[row * n + j]) * test::Value(keys[(sentence * length + i) * n + j]);
            }
            weights[i] = std::exp(score / std::sqrt(static_cast<double>(shape.head_size)));
            sum += weights[i];
          }
          for (int64_t i = 0; i < lengths[sentence]; ++i) {
            means[row * mean_length + i] += weights[i] / sum / shape.heads;
          }
        }
      }
      return means;
    }
  };

  // Fills `mean_weights`, [rows, any length], if it is given.
  static std::vector<T> RunCross(const Memories& memories, int threads = 2,
                                 std::vector<float>* mean_weights = nullptr) {
    const typename Testing<Device>::Instance device(threads);
    const int64_t n = memories.shape.hidden_size();
    std::vector<T> kv;  // side by side
    for (size_t i = 0; i < memories.lengths.size() * memories.length; ++i) {
      Append(memories.keys, i, 1, n, &kv);
      Append(memories.values, i, 1, n, &kv);
    }
    const Numbers<T> q(memories.q), memory(kv);
    const Numbers<int32_t> sentence_of(memories.sentence_of), lengths(memories.lengths);
    Numbers<T> out(Unwritten<T>(memories.q.size()));
    const auto part = [&](int64_t i) {
      return MemorySlots(memory.data() + i * n, memories.length, 2 * n, memories.shape.head_size);
    };
    Numbers<float> means(mean_weights == nullptr ? std::vector<float>() : *mean_weights);
    MeanWeights wanted;
    if (mean_weights != nullptr) {
      wanted.data = means.data();
      if (memories.shape.rows > 0) wanted.length = mean_weights->size() / memories.shape.rows;
    }
    CachedCrossAttention<T>(static_cast<const Device&>(device), memories.shape,
                            {sentence_of.data(), lengths.data()}, {q.data(), n}, part(0), part(1),
                            out.data(), wanted);
    if (mean_weights != nullptr) *mean_weights = means.host();
    return out.host();
  }

  static void CheckCross(const Ints& sentence_of, const Ints& lengths, int64_t heads,
                         int64_t head_size) {
    SCOPED_TRACE(::testing::Message() << heads << " heads of " << head_size);
    const Memories memories(sentence_of, lengths, heads, head_size);
    EXPECT_TRUE(Close(RunCross(memories), memories.Expected()));
  }
};

TYPED_TEST_SUITE(CachedAttentionTest, test::DeviceTypes);

TYPED_TEST(CachedAttentionTest, OfTheFirstPositionIsItsValue) {
  const typename TestFixture::Beams beams({1, 1, 1}, 2, 8);
  EXPECT_TRUE(Identical(TestFixture::RunSelf(beams), beams.v));
}

TYPED_TEST(CachedAttentionTest, FollowsPathsOfAnyLength) {
  for (const int64_t head_size : {8, 64}) {
    TestFixture::CheckSelf({2, 1, 3, 4, 5, 7, 8, 9}, 2, head_size);
    TestFixture::CheckSelf({31, 64, 33, 65, 127, 130}, 2, head_size);
    TestFixture::CheckSelf({1000, 3, 1024}, 1, head_size);
  }
}

TYPED_TEST(CachedAttentionTest, TakesHeadsOfAnySize) {
  for (const int64_t head_size : {1, 5, 8, 12, 16, 33, 40, 64, 72, 80, 128, 136, 256}) {
    for (const int64_t heads : {1, 3}) {
      TestFixture::CheckSelf({4, 19, 70}, heads, head_size);
      TestFixture::CheckCross({0, 0, 1}, {5, 70}, heads, head_size);
    }
  }
}

TYPED_TEST(CachedAttentionTest, TakesManyRows) {
  std::vector<int32_t> lengths;
  for (int32_t i = 0; i < 301; ++i) lengths.push_back(i % 7 + 1);
  TestFixture::CheckSelf(lengths, 2, 16);
}

// So many that on a GPU each is looked at by fewer threads.
TYPED_TEST(CachedAttentionTest, TakesManyRowsAndHeads) {
  std::vector<int32_t> lengths, sentence_of;
  for (int32_t i = 0; i < 301; ++i) {
    lengths.push_back(i % 40 + 1);
    sentence_of.push_back(i / 4 % 3);
  }
  for (const int64_t head_size : {5, 64, 136}) {
    TestFixture::CheckSelf(lengths, 4, head_size);
    const typename TestFixture::Memories memories(sentence_of, {0, 33, 7}, 4, head_size);
    auto means = Unwritten<float>(memories.shape.rows * 33);
    EXPECT_TRUE(Close(TestFixture::RunCross(memories, 2, &means), memories.Expected()));
    EXPECT_TRUE(Close(means, memories.ExpectedMeanWeights(33)));
  }
}

TYPED_TEST(CachedAttentionTest, SharesTheMemoryOfASentence) {
  for (const int64_t head_size : {8, 64}) {
    TestFixture::CheckCross({0, 0, 0, 1, 1, 1}, {7, 12}, 2, head_size);
    TestFixture::CheckCross({3, 1, 1, 0, 3}, {1, 130, 4, 64}, 2, head_size);
    TestFixture::CheckCross({0, 0}, {1024}, 1, head_size);
  }
}

TYPED_TEST(CachedAttentionTest, GivesZerosWhereTheMemoryIsEmpty) {
  TestFixture::CheckCross({0, 1, 0}, {0, 3}, 2, 8);
}

TYPED_TEST(CachedAttentionTest, AveragesTheWeightsOfTheHeadsIfWanted) {
  for (const int64_t heads : {1, 3, 8}) {
    for (const int64_t head_size : {5, 64}) {
      const typename TestFixture::Memories memories({3, 1, 1, 0, 3, 2}, {7, 130, 0, 64}, heads,
                                                    head_size);
      for (const int64_t length : {130, 133}) {
        auto means = Unwritten<float>(memories.shape.rows * length);
        const auto out = TestFixture::RunCross(memories, 2, &means);
        EXPECT_TRUE(Close(means, memories.ExpectedMeanWeights(length)));
        EXPECT_TRUE(Identical(out, TestFixture::RunCross(memories)));
      }
    }
  }
}

TYPED_TEST(CachedAttentionTest, TakesNoRows) {
  const typename TestFixture::Memories memories({}, {3}, 2, 8);
  EXPECT_TRUE(TestFixture::RunCross(memories).empty());
  std::vector<float> means;
  EXPECT_TRUE(TestFixture::RunCross(memories, 2, &means).empty());
}

TYPED_TEST(CachedAttentionTest, DoesNotDependOnTheNumberOfThreads) {
  const typename TestFixture::Beams beams({50, 3, 170, 1, 20}, 3, 24);
  EXPECT_TRUE(Identical(TestFixture::RunSelf(beams, 1), TestFixture::RunSelf(beams, 3)));
  const typename TestFixture::Memories memories({0, 1, 1}, {30, 11}, 3, 24);
  EXPECT_TRUE(Identical(TestFixture::RunCross(memories, 1), TestFixture::RunCross(memories, 3)));
}

// Nor on which slots others take.
TYPED_TEST(CachedAttentionTest, DoesNotDependOnTheOtherRows) {
  const typename TestFixture::Memories both({0, 1}, {30, 11}, 2, 16), one({0}, {30}, 2, 16);
  auto first = TestFixture::RunCross(both);
  first.resize(one.q.size());
  auto alone = one;
  alone.length = both.length;
  const int64_t count = both.length * both.shape.hidden_size();
  alone.keys.assign(both.keys.begin(), both.keys.begin() + count);
  alone.values.assign(both.values.begin(), both.values.begin() + count);
  EXPECT_TRUE(Identical(TestFixture::RunCross(alone), first));
}

TYPED_TEST(CachedAttentionTest, PropagatesNaNWithinTheRow) {
  using T = typename TestFixture::T;
  typename TestFixture::Beams beams({2, 5}, 2, 8);
  const int64_t n = beams.shape.hidden_size();
  test::Assign(std::nan(""), &beams.q[0]);  // of the first row's first head
  const std::vector<T> out = TestFixture::RunSelf(beams);
  for (int64_t i = 0; i < 2 * n; ++i) EXPECT_EQ(std::isnan(test::Value(out[i])), i < 8);
}

TYPED_TEST(CachedAttentionTest, TakesLargeScores) {
  typename TestFixture::Memories memories({0}, {80}, 2, 8);
  for (auto* rows : {&memories.q, &memories.keys}) {
    for (auto& value : *rows) test::Assign(test::Value(value) * 1e4, &value);
  }
  for (const auto value : TestFixture::RunCross(memories)) {
    EXPECT_LE(std::fabs(test::Value(value)), 1.0);
  }
}

// ExtendPaths
// ------------------------------------------------------------------------------

using Ints = std::vector<int32_t>;
using test::TestedDevice;
using DeviceInts = Testing<TestedDevice>::Numbers<int32_t>;

// Two tables of paths that take turns.
class Paths {
 public:
  Paths(int64_t rows, int64_t max_length)
      : max_length_(max_length),
        slots_{DeviceInts(Ints(rows * max_length, -1)), DeviceInts(Ints(rows * max_length, -1))},
        lengths_{DeviceInts(Ints(rows, 0)), DeviceInts(Ints(rows, 0))} {}

  void Extend(const Ints& parents, const Ints& slots) {
    const Testing<TestedDevice>::Instance device;
    const DeviceInts from(parents), to(slots);
    const int next = 1 - now_;
    ExtendPaths(static_cast<const TestedDevice&>(device), view(), from.data(), to.data(),
                parents.size(), slots_[next].data(), lengths_[next].data());
    now_ = next;
  }

  BeamPaths view() const { return {slots_[now_].data(), lengths_[now_].data(), max_length_}; }

  Ints Path(int64_t row) const {
    const Ints slots = slots_[now_].host();
    const auto start = slots.begin() + row * max_length_;
    return Ints(start, start + lengths_[now_].host()[row]);
  }

 private:
  const int64_t max_length_;
  int now_ = 0;
  DeviceInts slots_[2], lengths_[2];
};

TEST(ExtendPathsTest, FollowsParents) {
  Paths paths(3, 3);
  paths.Extend({0, 1, 2}, {0, 1, 2});
  paths.Extend({2, 2, 0}, {2, 0, 1});
  paths.Extend({1, 2, 1}, {1, 0, 2});
  EXPECT_EQ(paths.Path(0), Ints({2, 0, 1}));
  EXPECT_EQ(paths.Path(1), Ints({0, 1, 0}));
  EXPECT_EQ(paths.Path(2), Ints({2, 0, 2}));
}

TEST(ExtendPathsTest, LetsFinishedRowsGo) {
  Paths paths(4, 2);
  paths.Extend({0, 1, 2, 3}, {0, 1, 2, 3});
  paths.Extend({3}, {2});
  EXPECT_EQ(paths.Path(0), Ints({3, 2}));
  paths.Extend({}, {});
}

TEST(ExtendPathsTest, KeepsRowsOfDifferentLengths) {
  Paths paths(2, 300);
  for (int32_t i = 0; i < 298; ++i) paths.Extend({0}, {i % 2});  // the other row waits
  paths.Extend({0, 0}, {1, 0});
  Ints expected;
  for (int32_t i = 0; i < 298; ++i) expected.push_back(i % 2);
  expected.push_back(0);
  EXPECT_EQ(paths.Path(1), expected);
}

// A whole search
// ------------------------------------------------------------------------------

// Beams of two sentences that are reordered in every step, and of which one ends earlier, attend to
// what they would if each had a copy of its history.
TYPED_TEST(CachedAttentionTest, OfASearchIsThatOfCopiedHistories) {
  using T = typename TestFixture::T;
  using Numbers = typename TestFixture::template Numbers<T>;
  using Device = typename TestFixture::Device;
  constexpr int64_t kBeams = 3, kRows = 2 * kBeams, kHeads = 2, kSize = 16, kSteps = 20;
  constexpr int64_t n = kHeads * kSize;
  const typename Testing<Device>::Instance device;
  Numbers keys(Unwritten<T>(kRows * kSteps * n)), values(keys);
  Paths paths(kRows, kSteps);
  std::vector<std::vector<T>> key_histories(kRows), value_histories(kRows);
  std::mt19937 generator(1);
  for (int64_t step = 0; step < kSteps; ++step) {
    const int64_t ended = step < 8 ? 0 : kBeams;  // the first sentence's beams
    const CachedAttentionShape shape = {kRows - ended, kHeads, kSize};
    Ints parents, slots, lengths(shape.rows, step + 1);
    const int64_t gone = step == 8 ? kBeams : 0;  // rows that leave now
    for (int64_t i = 0; i < shape.rows; ++i) {
      const int64_t beam = step == 0 ? i % kBeams : generator() % kBeams;
      parents.push_back(gone + i / kBeams * kBeams + beam);
      slots.push_back(ended + i / kBeams * kBeams + (i + step) % kBeams);
    }
    paths.Extend(parents, slots);

    const auto q = Random<T>(shape.rows * n, 3 * step, 3.0);
    const auto k = Random<T>(shape.rows * n, 3 * step + 1);
    const auto v = Random<T>(shape.rows * n, 3 * step + 2);
    const auto extend = [&](const std::vector<T>& fresh, std::vector<std::vector<T>>* histories) {
      std::vector<std::vector<T>> extended;
      std::vector<T> all;
      for (int64_t i = 0; i < shape.rows; ++i) {
        extended.push_back((*histories)[parents[i]]);
        TestFixture::Append(fresh, i, 1, n, &extended.back());
        TestFixture::Append(extended.back(), 0, step + 1, n, &all);
      }
      *histories = extended;
      return all;
    };
    const auto all_keys = extend(k, &key_histories);
    const auto all_values = extend(v, &value_histories);

    const Numbers queries(q), new_keys(k), new_values(v);
    Numbers out(Unwritten<T>(q.size()));
    CachedSelfAttention<T>(static_cast<const Device&>(device), shape, paths.view(),
                           {queries.data(), n}, {new_keys.data(), n}, {new_values.data(), n},
                           GrowingSlots(keys.data(), kHeads, kSteps, kSize),
                           GrowingSlots(values.data(), kHeads, kSteps, kSize), out.data());
    EXPECT_TRUE(Close(out.host(), TestFixture::Expected(shape, lengths, q, all_keys, all_values)))
        << "step " << step;
  }
}

}  // namespace
}  // namespace tf_ls
