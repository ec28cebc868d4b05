#include "cc/kernels/cublaslt_product.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "cc/core/dynamic_library.h"

namespace tf_ls {
namespace cublaslt {
namespace {

// What NVIDIA recommends for Hopper; older GPUs use less of it.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;
// Of a workspace; products that use a worse one fail on Hopper.
static_assert(kAlignment % 256 == 0);
// Batches of real text have many shapes; past this many the oldest knowledge is dropped.
constexpr size_t kMostPlans = 4096;

void Check(Status status, const char* what) {
  if (status != kSuccess) {
    throw std::runtime_error(std::string("cuBLASLt: ") + what + " failed with status " +
                             std::to_string(status));
  }
}

const Api& GetApi() {
  static const Api api = [] {
    const DynamicLibrary library({"libcublasLt.so.12", "libcublasLt.so.13"});
    Api loaded;
    library.Load("cublasLtCreate", &loaded.Create);
    library.Load("cublasLtMatmulDescCreate", &loaded.MatmulDescCreate);
    library.Load("cublasLtMatmulDescSetAttribute", &loaded.MatmulDescSetAttribute);
    library.Load("cublasLtMatmulDescDestroy", &loaded.MatmulDescDestroy);
    library.Load("cublasLtMatrixLayoutCreate", &loaded.MatrixLayoutCreate);
    library.Load("cublasLtMatrixLayoutDestroy", &loaded.MatrixLayoutDestroy);
    library.Load("cublasLtMatmulPreferenceCreate", &loaded.MatmulPreferenceCreate);
    library.Load("cublasLtMatmulPreferenceSetAttribute", &loaded.MatmulPreferenceSetAttribute);
    library.Load("cublasLtMatmulPreferenceDestroy", &loaded.MatmulPreferenceDestroy);
    library.Load("cublasLtMatmulAlgoGetHeuristic", &loaded.MatmulAlgoGetHeuristic);
    library.Load("cublasLtMatmul", &loaded.Matmul);
    return loaded;
  }();
  return api;
}

// Objects of the library that are destroyed by a function of its own.
struct Destroyer {
  Status (*destroy)(void*);
  void operator()(void* object) const { destroy(object); }
};
using Object = std::unique_ptr<void, Destroyer>;

uint32_t Alignment(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return static_cast<uint32_t>(std::min<uintptr_t>(address == 0 ? 256 : address & -address, 256));
}

// A product as the library wants it described, with the algorithm to use. The library thinks in
// columns: d's rows are its columns, so that its first matrix is our second.
class Plan {
 public:
  Plan(Handle handle, const Product& product, bool alpha_on_gpu, uint32_t alignment_a,
       uint32_t alignment_b, uint32_t alignment_d)
      : handle_(handle), accumulate_(product.accumulate) {
    const Api& api = GetApi();
    void* object = nullptr;
    Check(api.MatmulDescCreate(&object, product.tf32 ? kComputeTf32 : kComputeFloat32, kFloat32),
          "describing a product");
    description_ = Object(object, {api.MatmulDescDestroy});
    Set(kPointerMode, alpha_on_gpu ? kGpuScalars : kHostScalars);
    Set(kTransposeA, product.a_transposed ? kTransposed : kAsItIs);
    Set(kTransposeB, product.b_transposed ? kTransposed : kAsItIs);
    Set(kEpilogue, product.has_bias ? kBias : kNoEpilogue);
    a_ = Layout(product.type, product.m, product.k, product.a_transposed, 0);
    b_ = Layout(product.type, product.k, product.n, product.b_transposed, product.b_stride);
    d_ = Layout(product.result_type, product.m, product.n, false, product.d_stride);

    Check(api.MatmulPreferenceCreate(&object), "making a preference");
    const Object preference(object, {api.MatmulPreferenceDestroy});
    const auto prefer = [&](PreferenceAttribute attribute, auto value) {
      Check(api.MatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
            "setting a preference");
    };
    prefer(kMaxWorkspaceBytes, kWorkspaceBytes);
    prefer(kMinAlignmentA, alignment_a);
    prefer(kMinAlignmentB, alignment_b);
    prefer(kMinAlignmentC, alignment_d);
    prefer(kMinAlignmentD, alignment_d);
    HeuristicResult result;
    int found = 0;
    Check(api.MatmulAlgoGetHeuristic(handle, description_.get(), a_.get(), b_.get(), d_.get(),
                                     d_.get(), preference.get(), 1, &result, &found),
          "looking for an algorithm");
    if (found == 0) throw std::runtime_error("cuBLASLt knows no algorithm for this product");
    algorithm_ = result.algorithm;
    workspace_bytes_ = result.workspace_bytes;
  }

  // The library keeps the bias's address in the description: one call at a time.
  void Run(const Gpu& gpu, const void* a, const void* b, const void* bias, void* d,
           const AlphaOnGpu* alpha) {
    const ArenaScope scope(gpu.arena);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (bias != nullptr) Set(kBiasPointer, bias);
    static constexpr AlphaOnGpu kOne = {1.0f, 0.0f, 1.0f};  // of the host
    if (alpha == nullptr) alpha = &kOne;
    const float* const beta = accumulate_ ? &alpha->one : &alpha->zero;
    auto* const workspace = gpu.arena->Allocate<unsigned char>(workspace_bytes_);
    Check(GetApi().Matmul(handle_, description_.get(), &alpha->alpha, a, a_.get(), b, b_.get(),
                          beta, d, d_.get(), d, d_.get(), &algorithm_, workspace, workspace_bytes_,
                          gpu.stream),
          "a product");
  }

 private:
  template <typename T>
  void Set(MatmulAttribute attribute, const T& value) {
    Check(GetApi().MatmulDescSetAttribute(description_.get(), attribute, &value, sizeof(value)),
          "describing a product");
  }

  static Object Layout(DataType type, int64_t rows, int64_t columns, bool transposed,
                       int64_t stride) {
    if (transposed) std::swap(rows, columns);
    void* object = nullptr;
    Check(GetApi().MatrixLayoutCreate(&object, type, rows, columns, stride == 0 ? rows : stride),
          "describing a matrix");
    return Object(object, {GetApi().MatrixLayoutDestroy});
  }

  const Handle handle_;
  const bool accumulate_;
  Object description_{nullptr, {nullptr}};
  Object a_{nullptr, {nullptr}}, b_{nullptr, {nullptr}}, d_{nullptr, {nullptr}};
  Algorithm algorithm_;
  size_t workspace_bytes_;
  std::mutex mutex_;
};

// The library's handle of one GPU, and the plans made with it.
class Plans {
 public:
  Plans() { Check(GetApi().Create(&handle_), "starting"); }

  std::shared_ptr<Plan> Get(const Product& product, bool alpha_on_gpu, const void* a, const void* b,
                            const void* d) {
    const Key key(product.key(), alpha_on_gpu, Alignment(a), Alignment(b), Alignment(d));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (plans_.size() >= kMostPlans) plans_.clear();
    std::shared_ptr<Plan>& plan = plans_[key];
    if (plan == nullptr) {
      plan = std::make_shared<Plan>(handle_, product, alpha_on_gpu, Alignment(a), Alignment(b),
                                    Alignment(d));
    }
    return plan;
  }

 private:
  using Key = std::tuple<decltype(Product().key()), bool, uint32_t, uint32_t, uint32_t>;

  Handle handle_ = nullptr;
  std::mutex mutex_;
  std::map<Key, std::shared_ptr<Plan>> plans_;
};

Plans& PlansOfCurrentGpu() {
  static std::mutex mutex;
  static auto* const all = new std::map<int, Plans>();  // outlives whoever still uses the GPU
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) throw std::runtime_error("there is no GPU");
  const std::lock_guard<std::mutex> lock(mutex);
  return (*all)[device];
}

}  // namespace

void Run(const Gpu& gpu, const Product& product, const void* a, const void* b, const void* bias,
         void* d, const AlphaOnGpu* alpha) {
  PlansOfCurrentGpu().Get(product, alpha != nullptr, a, b, d)->Run(gpu, a, b, bias, d, alpha);
}

}  // namespace cublaslt
}  // namespace tf_ls
