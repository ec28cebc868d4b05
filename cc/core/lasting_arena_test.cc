#include "cc/core/lasting_arena.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

// Notes how many blocks it holds.
class CountingArena : public HeapArena {
 public:
  size_t blocks() const { return BlockCount(); }
};

TEST(LastingArenaTest, KeepsEveryPieceThatItEverGave) {
  CountingArena source;
  {
    LastingArena arena(&source);
    for (size_t count = 1; count <= 3; ++count) {
      const ArenaScope scope(&arena);
      std::fill_n(arena.Allocate<char>(count * kAlignment), count * kAlignment, 'a');
    }
    EXPECT_EQ(source.blocks(), 3u);
    const ArenaScope scope(&arena);
    arena.Allocate<char>(2 * kAlignment);  // where the three were
    EXPECT_EQ(source.blocks(), 3u);
  }
  EXPECT_EQ(source.blocks(), 3u);
}

}  // namespace
}  // namespace tf_ls
