#ifndef TF_LS_CC_DECODING_STEP_LAUNCHER_H_
#define TF_LS_CC_DECODING_STEP_LAUNCHER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"
#include "cc/core/lasting_arena.h"
#include "cc/decoding/generation_step.h"
#include "cc/kernels/launch_graph.h"

namespace tf_ls {

// Runs steps of a generation, one behind the other, on the same memory. The arguments are those of
// GenerationStep.
template <typename Device, typename T>
class StepLauncher;

template <typename T>
class StepLauncher<Cpu, T> {
 public:
  StepLauncher(const Cpu& cpu, const GenerationModel& model, const GenerationMemory<T>& memory,
               const GenerationOptions& options, const SearchBatch& searches, Arena* lasting)
      : step_(cpu, model, memory, options, searches, lasting) {}

  void Run(const StepWork& work, const StepInputs& inputs, const StepOutputs& outputs) {
    turn_ = 1 - turn_;
    step_.Run(work, turn_, inputs, outputs);
  }

  const CachedDecoder<Cpu, T>& decoder() const { return step_.decoder(); }

 private:
  const GenerationStep<Cpu, T> step_;
  int turn_ = 0;
};

// A step is some 80 launches of a few microseconds each. What comes for the second time is recorded
// as a graph; what comes once, as where rows leave in every step, would not pay for that.
template <typename T>
class StepLauncher<Gpu, T> {
 public:
  StepLauncher(const Gpu& gpu, const GenerationModel& model, const GenerationMemory<T>& memory,
               const GenerationOptions& options, const SearchBatch& searches, Arena* lasting)
      : gpu_(gpu),
        recorded_scratch_(lasting),
        step_gpu_(gpu),
        step_(step_gpu_, model, memory, options, searches, lasting) {}

  void Run(const StepWork& work, const StepInputs& inputs, const StepOutputs& outputs) {
    turn_ = 1 - turn_;
    if (graphs_.size() >= kMostGraphs) graphs_.clear();
    Entry& entry = graphs_[{turn_, work.rows, work.k, work.has_excluded, work.most_excluded}];
    if (entry.graph == nullptr) {
      if (!entry.came_before) {
        entry.came_before = true;
        return step_.Run(work, turn_, inputs, outputs);
      }
      entry.graph = Record(work, inputs, outputs);
    }
    entry.graph->Launch(gpu_);
  }

  // Of which what is launched between the steps is recorded in none.
  const CachedDecoder<Gpu, T>& decoder() const { return step_.decoder(); }

 private:
  // As many as there are sizes of a batch that shrinks (see FilledUp), and more.
  static constexpr size_t kMostGraphs = 256;

  using Key = std::tuple<int, int64_t, int64_t, bool, int64_t>;
  struct Entry {
    bool came_before = false;
    std::unique_ptr<LaunchGraph> graph;
  };

  std::unique_ptr<LaunchGraph> Record(const StepWork& work, const StepInputs& inputs,
                                      const StepOutputs& outputs) {
    auto graph = std::make_unique<LaunchGraph>([&](CUstream_st* stream) {
      step_gpu_.stream = stream;
      step_gpu_.arena = &recorded_scratch_;
      step_.Run(work, turn_, inputs, outputs);
    });
    step_gpu_ = gpu_;
    return graph;
  }

  const Gpu& gpu_;
  LastingArena recorded_scratch_;
  Gpu step_gpu_;  // on which the step launches: gpu_, but for the stream while it is recorded
  const GenerationStep<Gpu, T> step_;
  int turn_ = 0;
  std::map<Key, Entry> graphs_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_STEP_LAUNCHER_H_
