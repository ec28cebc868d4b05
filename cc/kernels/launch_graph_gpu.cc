#include <cuda_runtime_api.h>

#include "cc/kernels/check_cuda.h"
#include "cc/kernels/launch_graph.h"

namespace tf_ls {
namespace {

// A stream of its own: on one that others launch on, too, their launches would be recorded.
class RecordingStream {
 public:
  RecordingStream() { CheckCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~RecordingStream() { cudaStreamDestroy(stream_); }
  RecordingStream(const RecordingStream&) = delete;
  RecordingStream& operator=(const RecordingStream&) = delete;

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
using Graph = std::unique_ptr<CUgraph_st, DestroyGraph>;

Graph EndRecording(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  const cudaError_t error = cudaStreamEndCapture(stream, &graph);
  Graph result(graph);
  CheckCuda(error);
  return result;
}

}  // namespace

// Relaxed: kernels that are used for the first time are loaded, and scratch memory may be
// allocated.
LaunchGraph::LaunchGraph(const std::function<void(CUstream_st*)>& launch) {
  const RecordingStream stream;
  CheckCuda(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed));
  try {
    launch(stream.get());
  } catch (...) {
    cudaGraph_t unfinished = nullptr;
    cudaStreamEndCapture(stream.get(), &unfinished);
    if (unfinished != nullptr) cudaGraphDestroy(unfinished);
    throw;
  }
  const Graph graph = EndRecording(stream.get());
  cudaGraphExec_t executable = nullptr;
  CheckCuda(cudaGraphInstantiate(&executable, graph.get(), 0));
  graph_.reset(executable);
}

void LaunchGraph::Launch(const Gpu& gpu) const {
  CheckCuda(cudaGraphLaunch(graph_.get(), gpu.stream));
}

void LaunchGraph::Destroy::operator()(CUgraphExec_st* graph) const { cudaGraphExecDestroy(graph); }

}  // namespace tf_ls
