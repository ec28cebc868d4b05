#include "cc/core/arena.h"

#include <algorithm>
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
  unsigned char* const buffer = arena.Allocate<unsigned char>(1000);
  BufferCutter cutter(buffer);
  char* const first = cutter.Cut<char>(1);
  double* const second = cutter.Cut<double>(9);
  float* const third = cutter.Cut<float>(16);
  char* const fourth = cutter.Cut<char>(1);
  EXPECT_EQ(static_cast<void*>(first), buffer);
  EXPECT_EQ(static_cast<void*>(second), buffer + 64);
  EXPECT_EQ(static_cast<void*>(third), buffer + 192);
  EXPECT_EQ(static_cast<void*>(fourth), buffer + 256);
  EXPECT_EQ(cutter.used(), 320u);
}

TEST(BufferCutterTest, CutsEmptyPieces) {
  BufferCutter cutter(nullptr);
  cutter.Cut<float>(0);
  EXPECT_EQ(cutter.used(), 0u);
}

TEST(BufferCutterTest, MeasuresWithoutABuffer) {
  BufferCutter cutter(nullptr);
  EXPECT_EQ(cutter.Cut<float>(5), nullptr);
  EXPECT_EQ(cutter.Cut<float>(17), nullptr);
  EXPECT_EQ(cutter.used(), 192u);
}

}  // namespace
}  // namespace tf_ls
