#include "cc/decoding/token_stream.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

NewToken Token(int32_t token) { return {0, 0, token, -1.0f, false}; }

std::vector<int32_t> Ids(const std::vector<NewToken>& tokens) {
  std::vector<int32_t> ids;
  for (const NewToken& token : tokens) ids.push_back(token.token);
  return ids;
}

TEST(TokenStream, GivesWhatWasWrittenOnceAndInOrder) {
  TokenStream stream;
  stream.Write({Token(1), Token(2)});
  stream.Write({Token(3)});
  EXPECT_EQ(Ids(stream.Read()), (std::vector<int32_t>{1, 2, 3}));
  stream.Write({Token(4)});
  stream.Close();
  stream.Write({Token(5)});
  EXPECT_EQ(Ids(stream.Read()), (std::vector<int32_t>{4}));
  EXPECT_TRUE(stream.Read().empty());
  EXPECT_TRUE(stream.Read().empty());
}

TEST(TokenStream, AReaderWaitsForWhatComes) {
  constexpr int kCount = 10000;
  TokenStream stream;
  std::vector<int32_t> read;
  std::thread reader([&] {
    for (auto ids = Ids(stream.Read()); !ids.empty(); ids = Ids(stream.Read())) {
      read.insert(read.end(), ids.begin(), ids.end());
    }
  });
  for (int i = 0; i < kCount; ++i) {
    stream.Write({});  // a step that brings nothing wakes nobody up
    stream.Write({Token(i)});
  }
  stream.Close();
  reader.join();
  ASSERT_EQ(read.size(), static_cast<size_t>(kCount));
  for (int i = 0; i < kCount; ++i) EXPECT_EQ(read[i], i);
}

TEST(TokenStream, HasOneWriter) {
  TokenStream stream, closed;
  EXPECT_TRUE(stream.Begin());
  EXPECT_FALSE(stream.Begin());
  closed.Close();
  EXPECT_FALSE(closed.Begin());
}

TEST(TokenStream, ClosingEndsTheWait) {
  TokenStream stream;
  std::thread closer([&] { stream.Close(); });
  EXPECT_TRUE(stream.Read().empty());
  closer.join();
}

}  // namespace
}  // namespace tf_ls
