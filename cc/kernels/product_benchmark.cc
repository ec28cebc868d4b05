// Times products of a few rows with packed weights on the CPU, in float32, bfloat16 and int8, as a
// step of generation has them.
//
//     product_benchmark [THREADS]
//
// prints for each of transformer_base's shapes and number of rows the milliseconds of a product,
// beside oneDNN's own of u8 and s8 without scales, the rates of int8, and its share of two floors:
// arithmetic, at the rate of oneDNN's best product, and bytes of the weight, at the rate of reading
// memory. Weights come from memory: there are as many as exceed the caches. With one thread it is
// the thread's own time that counts.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <type_traits>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/thread_pool.h"
#include "cc/kernels/matmul.h"
#include "cc/kernels/onednn_matmul.h"
#include "cc/kernels/packed_weights.h"
#include "cc/testing/cpu_benchmark.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::AlignedMemory;
using test::Random;
using test::StackArena;
using test::Time;

struct Shape {
  int64_t inputs, outputs;
};

// Of all weights of a shape and type: more than the caches hold.
constexpr int64_t kManyBytes = int64_t{256} << 20;

// Copies of a weight, each packed. The numbers are the same: only the memory differs.
class Weights {
 public:
  using Place = std::function<size_t(const std::vector<WeightPiece>&, const void*, PackedWeights*)>;
  using Pack = std::function<void(const Cpu&, const std::vector<WeightPiece>&, void*)>;

  Weights(const Cpu& cpu, const Shape& shape, const float* numbers, const Place& place,
          const Pack& pack)
      : cpu_(cpu), weight_{numbers, shape.inputs, shape.outputs} {
    const std::vector<WeightPiece> pieces = {{numbers, shape.inputs, shape.outputs}};
    const size_t bytes = place(pieces, nullptr, nullptr);
    packed_.resize(kManyBytes / bytes);
    for (PackedWeights& packed : packed_) {
      memory_.emplace_back(bytes);
      pack(cpu, pieces, memory_.back().start());
      place(pieces, memory_.back().start(), &packed);
    }
  }

  template <typename T>
  double TimeOf(int64_t rows) const {
    const auto x = Random<T>(rows * weight_.inputs, 1);
    std::vector<T> y(rows * weight_.outputs);
    size_t next = 0;
    return Time([&] {
      Cpu cpu = cpu_;
      cpu.packed_weights = &packed_[next++ % packed_.size()];
      MatMul(cpu, x.data(), rows, weight_, nullptr, false, y.data());
    });
  }

 private:
  const Cpu& cpu_;
  const Weight weight_;
  std::vector<AlignedMemory> memory_;
  std::vector<PackedWeights> packed_;
};

// oneDNN's product of bytes to 32 bits, in slices of outputs or blocks of rows that threads share.
class OneDnnInt8 {
 public:
  using memory = dnnl::memory;

  explicit OneDnnInt8(const Cpu& cpu) : cpu_(cpu), numbers_(kManyBytes, 1) {}

  double TimeOf(const Shape& shape, int64_t rows, int64_t block_rows, int64_t columns) const {
    const onednn::SingleThread single_thread;
    const memory::desc a({block_rows, shape.inputs}, memory::data_type::u8, {shape.inputs, 1});
    const memory::desc b({shape.inputs, columns}, memory::data_type::s8, memory::format_tag::any);
    const memory::desc c({block_rows, columns}, memory::data_type::s32, {columns, 1});
    const dnnl::matmul::primitive_desc description(onednn::Engine(), a, b, c);
    const dnnl::matmul product(description);
    const std::vector<uint8_t> x(rows * shape.inputs, 1);
    std::vector<int32_t> y(rows * shape.outputs);
    const int64_t slices = shape.outputs / columns, blocks = rows / block_rows;
    const int64_t copies = kManyBytes / (shape.inputs * shape.outputs);
    int64_t copy = 0;
    return Time([&] {
      const int8_t* const weight = numbers_.data() + copy++ % copies * shape.inputs * shape.outputs;
      const auto run = [&](int64_t begin, int64_t end) {
        const onednn::SingleThread single;
        dnnl::stream stream(onednn::Engine());
        for (int64_t task = begin; task < end; ++task) {
          const int64_t slice = task / blocks, block = task % blocks;
          const auto place = [&](const memory::desc& desc, const void* data) {
            return memory(desc, onednn::Engine(), const_cast<void*>(data));
          };
          product.execute(
              stream, {{DNNL_ARG_SRC, place(a, x.data() + block * block_rows * shape.inputs)},
                       {DNNL_ARG_WEIGHTS,
                        place(description.weights_desc(), weight + slice * columns * shape.inputs)},
                       {DNNL_ARG_DST, place(c, y.data() + task * block_rows * columns)}});
        }
      };
      cpu_.threads->ParallelFor(
          slices * blocks,
          2 * block_rows * columns * shape.inputs / 128 + shape.inputs * columns / 2, run);
    });
  }

 private:
  const Cpu& cpu_;
  const std::vector<int8_t> numbers_;
};

void Run(int threads) {
  ThreadPool pool(threads);
  StackArena arena;
  const Cpu cpu = {&pool, &arena};
  const OneDnnInt8 onednn_int8(cpu);
  double best_rate = 0.0;
  for (const Shape& shape : {Shape{512, 2048}, Shape{2048, 512}}) {
    constexpr int64_t kRows = 1024;
    const double time = onednn_int8.TimeOf(shape, kRows, kRows / 8, shape.outputs);
    best_rate = std::max(best_rate, 2e-6 * kRows * shape.inputs * shape.outputs / time);
  }
  const double read_rate = test::ReadRate(cpu);
  std::printf(
      "oneDNN u8s8: %.0f GOP/s; memory: %.1f GB/s; milliseconds\n\n"
      "| inputs | outputs | rows | float32 | bfloat16 | oneDNN u8s8 | int8 | int8, rows of "
      "bfloat16 "
      "| GOP/s | GB/s | floor: arithmetic | bytes | share of floor |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
      best_rate, read_rate);
  for (const Shape& shape :
       {Shape{512, 512}, Shape{512, 1536}, Shape{512, 2048}, Shape{2048, 512}, Shape{512, 32000}}) {
    const auto numbers = Random<float>(shape.inputs * shape.outputs, 1);
    const Weights float32(cpu, shape, numbers.data(), PlacePacked<float>, PackWeights<float>);
    const Weights half(cpu, shape, numbers.data(), PlacePacked<bfloat16>, PackWeights<bfloat16>);
    const Weights int8(cpu, shape, numbers.data(), PlaceInt8,
                       [](const Cpu& device, const std::vector<WeightPiece>& pieces, void* memory) {
                         PackInt8(device, pieces, memory);
                       });
    for (const int64_t rows : {1, 4, 8, 32, 128}) {
      const double of_float32 = float32.TimeOf<float>(rows);
      const double of_half = half.TimeOf<bfloat16>(rows);
      const double of_onednn = onednn_int8.TimeOf(shape, rows, rows, 256);
      const double of_int8 = int8.TimeOf<float>(rows);
      const double of_int8_half = int8.TimeOf<bfloat16>(rows);
      const double count = static_cast<double>(shape.inputs * shape.outputs);
      const double arithmetic = 2e-6 * rows * count / best_rate, bytes = 1e-6 * count / read_rate;
      std::printf(
          "| %ld | %ld | %ld | %.3f | %.3f | %.3f | %.3f | %.3f | %.0f | %.1f | %.3f | %.3f | "
          "%.0f %% |\n",
          static_cast<long>(shape.inputs), static_cast<long>(shape.outputs),
          static_cast<long>(rows), of_float32, of_half, of_onednn, of_int8, of_int8_half,
          2e-6 * rows * count / of_int8, 1e-6 * count / of_int8, arithmetic, bytes,
          100 * std::max(arithmetic, bytes) / of_int8);
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace tf_ls

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  if (threads < 1) {
    std::fprintf(stderr, "product_benchmark [THREADS]\n");
    return 1;
  }
  tf_ls::test::count_own_time = threads == 1;
  tf_ls::Run(threads);
}
