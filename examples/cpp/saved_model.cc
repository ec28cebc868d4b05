// Generates with an exported model (tf_ls.export.save) through TensorFlow's C API.
//
//     saved_model LIBRARY MODEL ID...
//
// LIBRARY is tf_ls's _tf_ls_ops.so, MODEL the SavedModel's folder, and the ids are one source.
// Prints the ids of each hypothesis, the best first, behind its score. How it is built:
//
//     TF=$(python -c "import tensorflow as tf; print(tf.sysconfig.get_lib())")
//     FLAGS=$(python -c "import tensorflow as tf; print(*tf.sysconfig.get_compile_flags())")
//     g++ -O2 -std=c++17 $FLAGS saved_model.cc -o saved_model -L$TF -Wl,-rpath,$TF \
//         -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"

namespace {

constexpr char kSignature[] = "serving_default";

template <typename T, void (*destroy)(T*)>
struct Destroyer {
  void operator()(T* object) const { destroy(object); }
};
template <typename T, void (*destroy)(T*)>
using Owned = std::unique_ptr<T, Destroyer<T, destroy>>;

using Tensor = Owned<TF_Tensor, TF_DeleteTensor>;

// Throws what went wrong.
class Status {
 public:
  TF_Status* get() const { return status_.get(); }
  void Check(const std::string& what) const {
    if (TF_GetCode(get()) != TF_OK) throw std::runtime_error(what + ": " + TF_Message(get()));
  }

 private:
  const Owned<TF_Status, TF_DeleteStatus> status_{TF_NewStatus()};
};

// A SavedModel's signature, as a function of one tensor of ids.
class Model {
 public:
  explicit Model(const std::string& folder) {
    const Owned<TF_SessionOptions, TF_DeleteSessionOptions> options(TF_NewSessionOptions());
    const Owned<TF_Buffer, TF_DeleteBuffer> description(TF_NewBuffer());
    const char* const tags[] = {"serve"};
    const Status status;
    session_ = TF_LoadSessionFromSavedModel(options.get(), nullptr, folder.c_str(), tags, 1,
                                            graph_.get(), description.get(), status.get());
    status.Check("cannot load " + folder);
    tensorflow::MetaGraphDef meta_graph;
    if (!meta_graph.ParseFromArray(description->data, static_cast<int>(description->length))) {
      throw std::runtime_error(folder + " has no valid description");
    }
    const auto found = meta_graph.signature_def().find(kSignature);
    if (found == meta_graph.signature_def().end()) {
      throw std::runtime_error(folder + " has no signature " + kSignature);
    }
    signature_ = found->second;
  }
  ~Model() {
    const Status status;
    TF_CloseSession(session_, status.get());
    TF_DeleteSession(session_, status.get());
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Returns the outputs of these names. source: int64 [1, any].
  std::vector<Tensor> Run(const Tensor& source, const std::vector<std::string>& names) const {
    const TF_Output input = Find(signature_.inputs(), "source");
    std::vector<TF_Output> outputs;
    for (const std::string& name : names) outputs.push_back(Find(signature_.outputs(), name));
    std::vector<TF_Tensor*> results(names.size());
    TF_Tensor* const sources[] = {source.get()};
    const Status status;
    TF_SessionRun(session_, nullptr, &input, sources, 1, outputs.data(), results.data(),
                  static_cast<int>(results.size()), nullptr, 0, nullptr, status.get());
    status.Check("cannot generate");
    std::vector<Tensor> owned;
    for (TF_Tensor* const result : results) owned.emplace_back(result);
    return owned;
  }

 private:
  // Where the graph has a tensor of the signature.
  template <typename Tensors>
  TF_Output Find(const Tensors& tensors, const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw std::runtime_error("the signature has no " + name);
    const std::string& tensor = found->second.name();
    const size_t colon = tensor.find(':');
    TF_Operation* const operation =
        TF_GraphOperationByName(graph_.get(), tensor.substr(0, colon).c_str());
    if (operation == nullptr) throw std::runtime_error("the graph has no " + tensor);
    return {operation, std::atoi(tensor.c_str() + colon + 1)};
  }

  const Owned<TF_Graph, TF_DeleteGraph> graph_{TF_NewGraph()};
  TF_Session* session_ = nullptr;
  tensorflow::SignatureDef signature_;
};

void Run(const std::string& library, const std::string& folder, const std::vector<int64_t>& ids) {
  const Status status;
  // Registers the operations; the library stays loaded.
  const Owned<TF_Library, TF_DeleteLibraryHandle> handle(
      TF_LoadLibrary(library.c_str(), status.get()));
  status.Check("cannot load " + library);
  const Model model(folder);

  const int64_t shape[] = {1, static_cast<int64_t>(ids.size())};
  const Tensor source(TF_AllocateTensor(TF_INT64, shape, 2, ids.size() * sizeof(int64_t)));
  std::memcpy(TF_TensorData(source.get()), ids.data(), ids.size() * sizeof(int64_t));
  const auto results = model.Run(source, {"tokens", "lengths", "scores"});
  const auto* const tokens = static_cast<const int64_t*>(TF_TensorData(results[0].get()));
  const auto* const lengths = static_cast<const int64_t*>(TF_TensorData(results[1].get()));
  const auto* const scores = static_cast<const float*>(TF_TensorData(results[2].get()));
  const int64_t hypotheses = TF_Dim(results[0].get(), 1), longest = TF_Dim(results[0].get(), 2);
  for (int64_t i = 0; i < hypotheses; ++i) {
    std::printf("%.6g:", scores[i]);
    for (int64_t j = 0; j < lengths[i]; ++j) {
      std::printf(" %lld", static_cast<long long>(tokens[i * longest + j]));
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s LIBRARY MODEL ID...\n", argv[0]);
    return 2;
  }
  std::vector<int64_t> ids;
  for (int i = 3; i < argc; ++i) ids.push_back(std::atoll(argv[i]));
  try {
    Run(argv[1], argv[2], ids);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
