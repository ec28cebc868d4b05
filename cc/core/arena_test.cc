#include "cc/core/arena.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

bool Aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % kAlignment == 0; }

// Notes how many blocks it holds.
class CountingArena : public HeapArena {
 public:
  size_t blocks() const { return BlockCount(); }
};

TEST(HeapArenaTest, GivesAlignedMemory) {
  HeapArena arena;
  for (const int64_t count : {1, 7, 64, 1000}) {
    EXPECT_TRUE(Aligned(arena.Allocate<char>(count)));
    EXPECT_TRUE(Aligned(arena.Allocate<double>(count)));
  }
}

TEST(HeapArenaTest, GivesMemoryThatCanBeWrittenToTheEnd) {
  HeapArena arena;
  std::vector<char*> buffers;
  for (char i = 0; i < 10; ++i) {
    buffers.push_back(arena.Allocate<char>(100));
    std::fill(buffers.back(), buffers.back() + 100, i);
  }
  for (char i = 0; i < 10; ++i) {
    EXPECT_EQ(std::count(buffers[i], buffers[i] + 100, i), 100);
  }
}

TEST(HeapArenaTest, AllocatesNothing) {
  HeapArena arena;
  arena.Allocate<float>(0);
}

// Notes how large its blocks are.
class NotingArena : public BlockArena {
 public:
  using BlockArena::BlockArena;
  std::vector<size_t> sizes;

 protected:
  std::shared_ptr<void> NewBlock(size_t bytes) override {
    sizes.push_back(bytes);
    return std::shared_ptr<void>(new char[bytes], [](void* p) { delete[] static_cast<char*>(p); });
  }
};

constexpr int64_t kPiece = kAlignment;

TEST(BlockArenaTest, LeavesItsMemoryToWhoNeedsItLonger) {
  std::vector<std::shared_ptr<void>> blocks;
  char* piece;
  {
    NotingArena arena(0);
    arena.Allocate<char>(kPiece);
    piece = arena.Allocate<char>(2 * kPiece);
    blocks = arena.blocks();
  }
  ASSERT_EQ(blocks.size(), 2);
  EXPECT_EQ(blocks[1].get(), piece);
  std::fill(piece, piece + 2 * kPiece, 1);  // which an address sanitizer watches
}

TEST(BlockArenaTest, CutsPiecesFromOneBlockIfItKnowsHowMuchIsNeeded) {
  NotingArena arena(3 * kPiece);
  char* const first = arena.Allocate<char>(kPiece);
  for (int i = 0; i < 2; ++i) {
    const ArenaScope scope(&arena);
    EXPECT_EQ(arena.Allocate<char>(1), first + kPiece);
    EXPECT_EQ(arena.Allocate<char>(kPiece), first + 2 * kPiece);
  }
  EXPECT_EQ(arena.sizes, (std::vector<size_t>{3 * kPiece}));
  EXPECT_EQ(arena.most(), 3u * kPiece);
}

TEST(BlockArenaTest, GetsMoreBlocksWhereItIsNotEnough) {
  NotingArena arena(2 * kPiece);
  char* const first = arena.Allocate<char>(kPiece);
  {
    const ArenaScope scope(&arena);
    std::fill_n(arena.Allocate<char>(4 * kPiece), 4 * kPiece, 'a');
  }
  {
    const ArenaScope scope(&arena);
    EXPECT_EQ(arena.Allocate<char>(kPiece), first + kPiece);
    std::fill_n(arena.Allocate<char>(3 * kPiece), 3 * kPiece, 'b');  // where the four were
    std::fill_n(arena.Allocate<char>(2 * kPiece), 2 * kPiece, 'c');
  }
  EXPECT_EQ(arena.sizes, (std::vector<size_t>{2 * kPiece, 4 * kPiece, 2 * kPiece}));
  EXPECT_EQ(arena.most(), 7u * kPiece);
}

TEST(BlockArenaTest, DropsABlockThatIsTooSmallAndThatNobodyUses) {
  NotingArena arena(0);
  {
    const ArenaScope scope(&arena);
    arena.Allocate<char>(kPiece);
  }
  arena.Allocate<char>(2 * kPiece);
  EXPECT_EQ(arena.sizes, (std::vector<size_t>{kPiece, 2 * kPiece}));
  EXPECT_EQ(arena.most(), 2u * kPiece);
}

TEST(BlockArenaTest, AllocatesNothing) {
  NotingArena arena(0);
  arena.Allocate<char>(0);
  EXPECT_EQ(arena.most(), 0u);
}

TEST(ArenaScopeTest, GivesBackWhatWasAllocatedWhileItLived) {
  CountingArena arena;
  arena.Allocate<int>(1);
  {
    const ArenaScope outer(&arena);
    arena.Allocate<int>(2);
    {
      const ArenaScope inner(&arena);
      arena.Allocate<int>(3);
      arena.Allocate<int>(4);
      EXPECT_EQ(arena.blocks(), 4u);
    }
    EXPECT_EQ(arena.blocks(), 2u);
  }
  EXPECT_EQ(arena.blocks(), 1u);
}

TEST(BufferCutterTest, CutsAlignedPiecesThatDoNotOverlap) {
  HeapArena arena;
  unsigned char* const buffer = arena.Allocate<unsigned char>(5 * kAlignment);
  BufferCutter cutter(buffer);
  char* const first = cutter.Cut<char>(1);
  double* const second = cutter.Cut<double>(kAlignment / sizeof(double) + 1);
  float* const third = cutter.Cut<float>(kAlignment / sizeof(float));
  char* const fourth = cutter.Cut<char>(1);
  EXPECT_EQ(static_cast<void*>(first), buffer);
  EXPECT_EQ(static_cast<void*>(second), buffer + kAlignment);
  EXPECT_EQ(static_cast<void*>(third), buffer + 3 * kAlignment);
  EXPECT_EQ(static_cast<void*>(fourth), buffer + 4 * kAlignment);
  EXPECT_EQ(cutter.used(), 5 * kAlignment);
}

TEST(BufferCutterTest, CutsEmptyPieces) {
  BufferCutter cutter(nullptr);
  cutter.Cut<float>(0);
  EXPECT_EQ(cutter.used(), 0u);
}

TEST(BufferCutterTest, MeasuresWithoutABuffer) {
  BufferCutter cutter(nullptr);
  EXPECT_EQ(cutter.Cut<float>(5), nullptr);
  EXPECT_EQ(cutter.Cut<float>(kAlignment / sizeof(float) + 1), nullptr);
  EXPECT_EQ(cutter.used(), 3 * kAlignment);
}

}  // namespace
}  // namespace tf_ls
