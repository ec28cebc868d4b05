#ifndef TF_LS_CC_CORE_LASTING_ARENA_H_
#define TF_LS_CC_CORE_LASTING_ARENA_H_

#include <cstdint>
#include <memory>

#include "cc/core/arena.h"

namespace tf_ls {

// An arena whose blocks come from another one, and so stay as long as that one's pieces do, even
// where this one drops them: for what is going to be used again at the same addresses.
class LastingArena : public BlockArena {
 public:
  explicit LastingArena(Arena* source) : BlockArena(0), source_(source) {}

 protected:
  std::shared_ptr<void> NewBlock(size_t bytes) override {
    return {source_->Allocate<unsigned char>(static_cast<int64_t>(bytes)), [](void*) {}};
  }

 private:
  Arena* const source_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_LASTING_ARENA_H_
