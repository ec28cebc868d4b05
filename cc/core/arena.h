#ifndef TF_LS_CC_CORE_ARENA_H_
#define TF_LS_CC_CORE_ARENA_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tf_ls {

// What memory starts at a multiple of: cuBLASLt wants it for its workspace, and has more algorithms
// for matrices that do. On the CPU, where a cache line would do, TensorFlow gives multiples of 64.
constexpr size_t kAlignment = 256;

constexpr size_t AlignUp(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Scratch memory of one operation, a stack: an ArenaScope gives back what was allocated while it
// lived.
class Arena {
 public:
  virtual ~Arena() = default;

  template <typename T>
  T* Allocate(int64_t count) {
    return static_cast<T*>(AllocateBytes(AlignUp(static_cast<size_t>(count) * sizeof(T))));
  }

 protected:
  friend class ArenaScope;
  virtual void* AllocateBytes(size_t bytes) = 0;
  virtual size_t BlockCount() const = 0;
  virtual void ShrinkTo(size_t block_count) = 0;
};

class ArenaScope {
 public:
  explicit ArenaScope(Arena* arena) : arena_(arena), block_count_(arena->BlockCount()) {}
  ~ArenaScope() { arena_->ShrinkTo(block_count_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena* const arena_;
  const size_t block_count_;
};

// An arena that cuts its memory from blocks, which cost more to get than pieces to cut. The first
// block has `expected` bytes, if that is enough: what an earlier run of the same work needed.
class BlockArena : public Arena {
 public:
  explicit BlockArena(size_t expected) : expected_(expected) {}

  // How many bytes were in use at most.
  size_t most() const { return most_; }
  // The memory itself, for what is to outlive the arena.
  std::vector<std::shared_ptr<void>> blocks() const {
    std::vector<std::shared_ptr<void>> blocks;
    for (const Block& block : blocks_) blocks.push_back(block.data);
    return blocks;
  }

 protected:
  // Memory of at least so many bytes, which may be used until the pointer is dropped.
  virtual std::shared_ptr<void> NewBlock(size_t bytes) = 0;

  void* AllocateBytes(size_t bytes) override {
    size_t block = pieces_.empty() ? 0 : pieces_.back().block;
    size_t start = pieces_.empty() ? 0 : pieces_.back().end;
    if (block < blocks_.size() && start + bytes > blocks_[block].bytes && !pieces_.empty()) {
      ++block;
      start = 0;
    }
    if (block >= blocks_.size() || start + bytes > blocks_[block].bytes) {
      blocks_.resize(block);  // nobody uses those behind it, and they are too small
      const size_t size = pieces_.empty() ? std::max(bytes, expected_) : bytes;
      blocks_.push_back({NewBlock(size), size});
    }
    used_ += bytes;
    most_ = std::max(most_, used_);
    pieces_.push_back({block, start + bytes, bytes});
    return static_cast<unsigned char*>(blocks_[block].data.get()) + start;
  }
  size_t BlockCount() const override { return pieces_.size(); }
  void ShrinkTo(size_t count) override {
    for (; pieces_.size() > count; pieces_.pop_back()) used_ -= pieces_.back().bytes;
  }

 private:
  struct Block {
    std::shared_ptr<void> data;
    size_t bytes;
  };
  struct Piece {
    size_t block, end, bytes;
  };

  const size_t expected_;
  size_t used_ = 0;
  size_t most_ = 0;
  std::vector<Block> blocks_;
  std::vector<Piece> pieces_;  // in the order in which they were cut
};

// An arena on the C++ heap, for use without TensorFlow.
class HeapArena : public Arena {
 protected:
  void* AllocateBytes(size_t bytes) override {
    blocks_.push_back(std::make_unique<unsigned char[]>(bytes + kAlignment));
    void* start = blocks_.back().get();
    size_t space = bytes + kAlignment;
    return std::align(kAlignment, bytes, start, space);
  }
  size_t BlockCount() const override { return blocks_.size(); }
  void ShrinkTo(size_t block_count) override { blocks_.resize(block_count); }

 private:
  std::vector<std::unique_ptr<unsigned char[]>> blocks_;
};

// Cuts one given buffer into aligned pieces. Without a buffer it only measures: `used()` is what is
// needed.
class BufferCutter {
 public:
  explicit BufferCutter(void* buffer) : buffer_(static_cast<unsigned char*>(buffer)) {}

  template <typename T>
  T* Cut(int64_t count) {
    const size_t start = used_;
    used_ += AlignUp(static_cast<size_t>(count) * sizeof(T));
    return buffer_ == nullptr ? nullptr : reinterpret_cast<T*>(buffer_ + start);
  }

  size_t used() const { return used_; }

 private:
  unsigned char* const buffer_;
  size_t used_ = 0;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_ARENA_H_
