#ifndef TF_LS_CC_LAYERS_ENCODER_LAUNCHER_H_
#define TF_LS_CC_LAYERS_ENCODER_LAUNCHER_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

#include "cc/core/arena.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/kernels/launch_graph.h"

namespace tf_ls {

// Gives the device's memory, of so many bytes, which lasts as long as the pointer.
using NewMemory = std::function<std::shared_ptr<void>(size_t bytes)>;

// All that launches of one encoder depend on, beside what is in the device's memory.
struct EncoderShape {
  int64_t rows;
  int64_t sentences;
  const float* positions;  // the stack's
};

// Runs of one encoder, in any threads. `body(device, encode)` is a run: it allocates from
// device.arena, in the same order for the same shape, what the encoder reads and writes, fills what
// is read, calls encode(work) once, and takes what was written. `work(device)` launches the
// encoder, on the device that it is handed.
template <typename Device>
class EncoderLauncher;

template <>
class EncoderLauncher<Cpu> {
 public:
  template <typename Body>
  void Run(const Cpu& cpu, const EncoderShape& /*shape*/, const NewMemory& /*new_memory*/,
           const Body& body) {
    body(cpu, [&](const auto& work) { work(cpu); });
  }
};

// An encoder is ten launches a layer, and the device is done with those of a small batch sooner
// than the host has made them. A shape that comes for the second time is recorded as a graph. All
// graphs use the same memory, which is kept: they run one after the other, in the order of a
// stream.
template <>
class EncoderLauncher<Gpu> {
 public:
  template <typename Body>
  void Run(const Gpu& gpu, const EncoderShape& shape, const NewMemory& new_memory,
           const Body& body) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Entry& entry = Find({shape.rows, shape.sentences, shape.positions, gpu.allow_tf32});
    if (CanRecord(gpu, entry)) {
      RunRecorded(gpu, new_memory, body, &entry);
    } else {
      RunArena arena(scratch_bytes_, nullptr, new_memory);
      const Gpu on = With(gpu, gpu.stream, &arena);
      body(on, [&](const auto& work) { work(on); });
      entry.bytes = scratch_bytes_ = arena.most();
    }
  }

  // Graphs of as many shapes, those that came last.
  static constexpr size_t kMostShapes = 128;
  // Batches that need more keep the device busy for longer than the host takes to launch them.
  static constexpr size_t kMostBytes = size_t{512} << 20;

 private:
  using Key = std::tuple<int64_t, int64_t, const float*, bool>;
  struct Entry {
    size_t bytes = 0;  // that a run needs; 0 before the first
    int64_t last_run = 0;
    std::unique_ptr<LaunchGraph> graph;
  };

  // Begins with a block that is there, if there is one.
  class RunArena : public BlockArena {
   public:
    RunArena(size_t expected, std::shared_ptr<void> kept, const NewMemory& new_memory)
        : BlockArena(expected),
          expected_(expected),
          kept_(std::move(kept)),
          new_memory_(new_memory) {}

    // Whether there was more to allocate than that block has.
    bool has_new_blocks() const { return has_new_blocks_; }

   protected:
    std::shared_ptr<void> NewBlock(size_t bytes) override {
      if (kept_ != nullptr && bytes <= expected_) return std::exchange(kept_, nullptr);
      has_new_blocks_ = true;
      return new_memory_(bytes);
    }

   private:
    const size_t expected_;
    std::shared_ptr<void> kept_;
    const NewMemory& new_memory_;
    bool has_new_blocks_ = false;
  };

  static Gpu With(Gpu gpu, CUstream_st* stream, Arena* arena) {
    gpu.stream = stream;
    gpu.arena = arena;
    return gpu;
  }

  Entry& Find(const Key& key) {
    if (entries_.size() >= kMostShapes && entries_.count(key) == 0) {
      entries_.erase(std::min_element(entries_.begin(), entries_.end(), [](auto& a, auto& b) {
        return a.second.last_run < b.second.last_run;
      }));
    }
    Entry& entry = entries_[key];
    entry.last_run = ++runs_;
    return entry;
  }

  bool CanRecord(const Gpu& gpu, const Entry& entry) {
    if (!stream_.has_value()) stream_ = gpu.stream;
    return stream_ == gpu.stream && entry.bytes > 0 && entry.bytes <= kMostBytes;
  }

  template <typename Body>
  void RunRecorded(const Gpu& gpu, const NewMemory& new_memory, const Body& body, Entry* entry) {
    if (entry->bytes > kept_bytes_) Keep(entry->bytes, new_memory);
    RunArena arena(kept_bytes_, kept_, new_memory);
    const Gpu on = With(gpu, gpu.stream, &arena);
    body(on, [&](const auto& work) {
      if (entry->graph == nullptr) {
        auto graph = std::make_unique<LaunchGraph>(
            [&](CUstream_st* stream) { work(With(gpu, stream, &arena)); });
        // A product may have come to want more memory; a graph must not use what does not stay.
        if (arena.has_new_blocks()) return work(on);
        entry->graph = std::move(graph);
      }
      entry->graph->Launch(gpu);
    });
    if (entry->graph == nullptr) entry->bytes = arena.most();
  }

  // Keeps memory of so many bytes instead of what there was, and so no graph. It doubles at least:
  // longer and longer batches must not have all graphs recorded again each time.
  void Keep(size_t bytes, const NewMemory& new_memory) {
    for (auto& entry : entries_) entry.second.graph.reset();
    bytes = std::max(bytes, std::min(2 * kept_bytes_, kMostBytes));
    kept_bytes_ = 0;
    kept_.reset();
    kept_ = new_memory(bytes);
    kept_bytes_ = bytes;
  }

  std::mutex mutex_;
  std::optional<CUstream_st*> stream_;  // of the first run; those on another are not recorded
  size_t scratch_bytes_ = 0;            // that the last run needed that was not recorded
  size_t kept_bytes_ = 0;
  std::shared_ptr<void> kept_;
  int64_t runs_ = 0;
  std::map<Key, Entry> entries_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_ENCODER_LAUNCHER_H_
