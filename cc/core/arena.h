#ifndef TF_LS_CC_CORE_ARENA_H_
#define TF_LS_CC_CORE_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tf_ls {

// Every buffer starts on a cache line, which is also what the vector units like best.
constexpr size_t kAlignment = 64;

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
