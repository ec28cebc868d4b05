#include "cc/kernels/onednn_matmul.h"

#include <omp.h>

#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cc/core/arena.h"

namespace tf_ls {
namespace onednn {
namespace {

using dnnl::memory;

// Grows to the largest scratchpad its thread was ever asked for.
void* Scratchpad(size_t bytes) {
  thread_local std::vector<unsigned char> buffer;
  if (buffer.size() < bytes + kAlignment) buffer.resize(bytes + kAlignment);
  void* start = buffer.data();
  size_t space = buffer.size();
  return std::align(kAlignment, bytes, start, space);
}

dnnl::matmul::primitive_desc Describe(const ProductShape& s) {
  const memory::desc a({s.m, s.k}, s.type, {s.a_row_stride, s.a_column_stride});
  const memory::desc b =
      s.any_rows ? Product::AnyRowsLayout(s)
      : s.b_row_stride == 0 && s.b_column_stride == 0
          ? memory::desc({s.k, s.n}, s.type, memory::format_tag::any)
          : memory::desc({s.k, s.n}, s.type, {s.b_row_stride, s.b_column_stride});
  const memory::desc c({s.m, s.n}, s.c_type, {s.c_row_stride, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (s.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum();
    attributes.set_post_ops(sum);
  }
  if (!s.bias) return dnnl::matmul::primitive_desc(Engine(), a, b, c, attributes);
  const memory::desc bias({1, s.n}, memory::data_type::f32, memory::format_tag::ab);
  return dnnl::matmul::primitive_desc(Engine(), a, b, bias, c, attributes);
}

}  // namespace

const dnnl::engine& Engine() {
  static const dnnl::engine* const engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

SingleThread::SingleThread() : threads_before_(omp_get_max_threads()) { omp_set_num_threads(1); }
SingleThread::~SingleThread() { omp_set_num_threads(threads_before_); }

Product::Product(const ProductShape& shape) : dims_b_({shape.k, shape.n}) {
  const SingleThread single_thread;
  const dnnl::matmul::primitive_desc description = Describe(shape);
  a_ = description.src_desc();
  b_ = description.weights_desc();
  c_ = description.dst_desc();
  bias_ = description.bias_desc();
  scratchpad_ = description.scratchpad_desc();
  primitive_ = dnnl::matmul(description);
}

std::shared_ptr<const Product> Product::Get(const ProductShape& shape) {
  using Key = decltype(shape.AsTuple());
  static std::mutex* const mutex = new std::mutex;
  static auto* const cache = new std::map<Key, std::shared_ptr<const Product>>;
  constexpr size_t kMaxProducts = 4096;
  const Key key = shape.AsTuple();
  {
    const std::lock_guard<std::mutex> lock(*mutex);
    const auto found = cache->find(key);
    if (found != cache->end()) return found->second;
  }
  auto product = std::make_shared<const Product>(shape);
  const std::lock_guard<std::mutex> lock(*mutex);
  if (cache->size() >= kMaxProducts) cache->clear();
  return cache->emplace(key, std::move(product)).first->second;
}

memory::desc Product::AnyRowsLayout(const ProductShape& s) {
  return Get({64, s.k, s.n, s.k, 1, 0, 0, s.n, s.type, s.type, false, false})->layout();
}

void Product::Pack(const void* b, memory::data_type type, int64_t row_stride, int64_t column_stride,
                   void* packed) const {
  const SingleThread single_thread;
  dnnl::stream stream(Engine());
  const memory::desc plain(dims_b_, type, {row_stride, column_stride});
  memory from(plain, Engine(), const_cast<void*>(b));
  memory to(b_, Engine(), packed);
  dnnl::reorder(from, to).execute(stream, from, to);
}

void Product::Run(const void* a, const void* b, const float* bias, void* c) const {
  const SingleThread single_thread;
  dnnl::stream stream(Engine());
  std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, memory(a_, Engine(), const_cast<void*>(a))},
      {DNNL_ARG_WEIGHTS, memory(b_, Engine(), const_cast<void*>(b))},
      {DNNL_ARG_DST, memory(c_, Engine(), c)},
      {DNNL_ARG_SCRATCHPAD, memory(scratchpad_, Engine(), Scratchpad(scratchpad_.get_size()))}};
  if (bias != nullptr)
    arguments.emplace(DNNL_ARG_BIAS, memory(bias_, Engine(), const_cast<float*>(bias)));
  primitive_.execute(stream, arguments);
}

bool HasBfloat16() {
  static const bool has = [] {
    try {
      constexpr auto kType = memory::data_type::bf16;
      Product({64, 64, 64, 64, 1, 0, 0, 64, kType, kType, true, false});
      Product({64, 64, 64, 1, 64, 64, 1, 64, kType, memory::data_type::f32, false, true});
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return has;
}

bool LaysOutWeights() {
  static const bool lays_out = [] {
    constexpr auto kType = memory::data_type::f32;
    const Product product({64, 64, 64, 64, 1, 0, 0, 64, kType, kType, false, false});
    return product.layout() != memory::desc({64, 64}, kType, memory::format_tag::ab);
  }();
  return lays_out;
}

}  // namespace onednn
}  // namespace tf_ls
