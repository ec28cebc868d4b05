// Times a step of generation on the CPU: the layers, the logits and the best words of each row, of
// a model with random weights, without TensorFlow.
//
//     generation_benchmark [base|demo [THREADS [float32|bfloat16|int8|int8-bfloat16
//         [BATCH BEAMS]]]]
//
// (int8: the weights are, and rows float32 or bfloat16)
// prints for each cell the milliseconds of a step and of its parts, each part run alone over all
// layers, and two floors: arithmetic, at the rate of a large product, and bytes that are read, at
// the rate of reading memory, both measured in the same run. With one thread it is the
// thread's own time that counts.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/thread_pool.h"
#include "cc/decoding/generation_layer.h"
#include "cc/kernels/logits.h"
#include "cc/kernels/matmul.h"
#include "cc/kernels/packed_weights.h"
#include "cc/kernels/top_k.h"
#include "cc/testing/cpu_benchmark.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::AlignedMemory;
using test::LayerWeights;
using test::Random;
using test::StackArena;
using test::Time;

// A decoder of NeurST's.
struct Sizes {
  int64_t hidden, heads, filter, layers, vocab;

  int64_t head() const { return hidden / heads; }
};
constexpr Sizes kBase = {512, 8, 2048, 6, 32000};  // transformer_base
constexpr Sizes kDemo = {128, 4, 512, 2, 8000};    // transformer_128_2e_2d_4h
constexpr int64_t kSource = 32, kCached = 32, kMaxLength = 64;

// A type of rows, and whether weights are in int8.
template <typename T, bool int8>
struct Precision {
  using Type = T;
  static constexpr bool kInt8 = int8;
  static constexpr int64_t kWeightBytes = int8 ? 1 : sizeof(T);

  static const char* Name() {
    if (int8) return std::is_same<T, float>::value ? "int8" : "int8-bfloat16";
    return std::is_same<T, float>::value ? "float32" : "bfloat16";
  }
  static size_t Place(const std::vector<WeightPiece>& pieces, const void* memory,
                      PackedWeights* packed) {
    if (int8) return PlaceInt8(pieces, memory, packed);
    return PlacePacked<T>(pieces, memory, packed);
  }
  static void Pack(const Cpu& cpu, const std::vector<WeightPiece>& pieces, void* memory) {
    if (int8) return PackInt8(cpu, pieces, memory);
    PackWeights<T>(cpu, pieces, memory);
  }
};

// Numbers a nanosecond that products and reading memory reach at best.
struct Rates {
  double flops;
  double bytes;

  template <typename P>
  static Rates Of(const Cpu& cpu, P /*precision*/) {
    using T = typename P::Type;
    constexpr int64_t kRows = 1024, kInputs = 512, kOutputs = 2048;
    const auto w = Random<float>(kInputs * kOutputs, 1);
    const auto x = Random<T>(kRows * kInputs, 2);
    std::vector<T> y(kRows * kOutputs);
    const std::vector<WeightPiece> pieces = {{w.data(), kInputs, kOutputs}};
    const AlignedMemory memory(P::Place(pieces, nullptr, nullptr));
    PackedWeights packed;
    Cpu with_weight = cpu;
    if (P::kInt8) {
      P::Pack(cpu, pieces, memory.start());
      P::Place(pieces, memory.start(), &packed);
      with_weight.packed_weights = &packed;
    }
    const Weight weight = {w.data(), kInputs, kOutputs};
    const double time =
        Time([&] { MatMul(with_weight, x.data(), kRows, weight, nullptr, false, y.data()); });
    return {2.0 * kRows * kInputs * kOutputs / 1e6 / time, test::ReadRate(cpu)};
  }
};

template <typename P>
class Benchmark {
  using T = typename P::Type;

 public:
  Benchmark(const Sizes& sizes, int threads)
      : sizes_(sizes), threads_(threads), cpu_{&threads_, &arena_, &packed_} {
    options_.hidden_size = options_.memory_size = sizes_.hidden;
    options_.num_heads = sizes_.heads;
    options_.filter_size = sizes_.filter;
    std::vector<WeightPiece> pieces;
    for (int64_t i = 0; i < sizes_.layers; ++i) {
      weights_.push_back(LayerWeights::Random(options_, 10));
      pointers_.push_back(weights_.back().pointers());
      for (const Matrix& matrix : Matrices()) {
        pieces.push_back({pointers_.back()[matrix.index], matrix.inputs, matrix.outputs});
      }
    }
    embeddings_ = Random<float>(sizes_.vocab * sizes_.hidden, 3, 0.05);
    pieces.push_back({embeddings_.data(), sizes_.vocab, sizes_.hidden, /*transposed=*/true});
    memory_ = std::make_unique<AlignedMemory>(P::Place(pieces, nullptr, nullptr));
    pack_time_ = Time([&] { P::Pack(cpu_, pieces, memory_->start()); });
    P::Place(pieces, memory_->start(), &packed_);
    for (int64_t i = 0; i < sizes_.layers; ++i)
      layers_.emplace_back(cpu_, options_, pointers_[i].data());
  }

  void PrintHead(const Rates& rates) const {
    std::printf("%s: %.0f GOP/s, %.1f GB/s, packing %.1f ms\n\n", P::Name(), rates.flops,
                rates.bytes, pack_time_);
    std::printf(
        "| batch | beams | a step | products | self-attention | cross-attention | norms, rest | "
        "logits | top k | arithmetic | bytes | share of floor |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  }

  void Run(int64_t batch, int64_t beams, const Rates& rates) {
    const int64_t rows = batch * beams;
    Cell cell(sizes_, batch, beams);
    const double step = Time([&] {
      RunLayers(&cell);
      RunLogits(&cell, true, true);
    });
    const double layers = Time([&] { RunLayers(&cell); });
    const double products = Time([&] { RunProducts(&cell); });
    const double self = Time([&] {
      for (int64_t i = 0; i < sizes_.layers; ++i) RunSelfAttention(&cell, i);
    });
    const double cross = Time([&] {
      for (int64_t i = 0; i < sizes_.layers; ++i) RunCrossAttention(&cell, i);
    });
    const double logits = Time([&] { RunLogits(&cell, true, false); });
    const double best = Time([&] { RunLogits(&cell, false, true); });

    double numbers = static_cast<double>(sizes_.vocab) * sizes_.hidden;
    for (const Matrix& matrix : Matrices())
      numbers += 1.0 * sizes_.layers * matrix.inputs * matrix.outputs;
    const double positions =
        2.0 * sizes_.layers * sizes_.hidden * (rows * (kCached + 1) + batch * kSource);
    const double attention = 4.0 * sizes_.layers * sizes_.hidden * rows * (kCached + 1 + kSource);
    // Attention, which is in float32, counts as if it were a product.
    const double arithmetic = (2 * numbers * rows + attention) / rates.flops / 1e6;
    const double bytes = (numbers * P::kWeightBytes + positions * sizeof(T)) / rates.bytes / 1e6;
    std::printf(
        "| %ld | %ld | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f %% |\n",
        static_cast<long>(batch), static_cast<long>(beams), step, products, self, cross,
        layers - products - self - cross, logits, best, arithmetic, bytes,
        100 * std::max(arithmetic, bytes) / step);
    std::fflush(stdout);
  }

 private:
  // A product of each step, by its weight's place in the layer's.
  struct Matrix {
    int index;
    int64_t inputs, outputs;
  };
  std::vector<Matrix> Matrices() const {
    return {{2, sizes_.hidden, 3 * sizes_.hidden}, {4, sizes_.hidden, sizes_.hidden},
            {8, sizes_.hidden, sizes_.hidden},     {12, sizes_.hidden, sizes_.hidden},
            {16, sizes_.hidden, sizes_.filter},    {18, sizes_.filter, sizes_.hidden}};
  }

  // What steps of one number of rows work on.
  struct Cell {
    Cell(const Sizes& sizes, int64_t batch, int64_t beams)
        : vocab(sizes.vocab),
          rows(batch * beams),
          k(beams == 1 ? 1 : 2 * beams),
          x(Random<T>(rows * sizes.filter, 1)),
          y(rows * sizes.filter),
          keys(Random<T>(sizes.layers * rows * kMaxLength * sizes.hidden, 2)),
          values(keys),
          kv(Random<T>(sizes.layers * batch * kSource * 2 * sizes.hidden, 3)),
          slots(rows * kMaxLength),
          lengths(rows, kCached + 1),
          memory_lengths(batch, kSource),
          logits(rows * Piece()),
          best_logits(rows * k),
          best_ids(rows * k),
          log_sums(rows) {
      std::mt19937 generator(1);
      for (int64_t i = 0; i < rows; ++i) {
        sentence_of.push_back(i / beams);
        // As a search has them: a past in common, which ends a few positions ago.
        for (int64_t p = 0; p <= kCached; ++p) {
          const int64_t beam = p + 8 < kCached ? p % beams : p < kCached ? generator() % beams : i;
          slots[i * kMaxLength + p] = i / beams * beams + beam % beams;
        }
      }
    }

    // Of the vocabulary: logits of 4 MB.
    int64_t Piece() const {
      return std::min(vocab, std::max<int64_t>(1, (1 << 20) / rows / 256) * 256);
    }
    BeamPaths Paths() const { return {slots.data(), lengths.data(), kMaxLength}; }

    const int64_t vocab, rows, k;
    std::vector<T> x, y, keys, values, kv;
    std::vector<int32_t> slots, lengths, sentence_of, memory_lengths;
    std::vector<float> logits, best_logits;
    std::vector<int32_t> best_ids;
    std::vector<double> log_sums;
  };

  typename GenerationLayer<Cpu, T>::GrowingCache Growing(Cell* cell, int64_t layer) const {
    const int64_t start = layer * cell->rows * kMaxLength * sizes_.hidden;
    return {GrowingSlots(cell->keys.data() + start, sizes_.heads, kMaxLength, sizes_.head()),
            GrowingSlots(cell->values.data() + start, sizes_.heads, kMaxLength, sizes_.head())};
  }
  typename GenerationLayer<Cpu, T>::MemoryCache Memory(const Cell& cell, int64_t layer) const {
    const T* const start = cell.kv.data() + cell.kv.size() / sizes_.layers * layer;
    return {MemorySlots(start, kSource, 2 * sizes_.hidden, sizes_.head()),
            MemorySlots(start + sizes_.hidden, kSource, 2 * sizes_.hidden, sizes_.head())};
  }

  void RunLayers(Cell* cell) const {
    std::copy_n(cell->x.data(), cell->rows * sizes_.hidden, cell->y.data());
    for (int64_t i = 0; i < sizes_.layers; ++i) {
      layers_[i].Forward(cell->rows, cell->Paths(), Growing(cell, i),
                         {cell->sentence_of.data(), cell->memory_lengths.data()}, Memory(*cell, i),
                         cell->y.data());
    }
  }

  void RunProducts(Cell* cell) const {
    const ArenaScope scope(&arena_);
    T* const out = arena_.template Allocate<T>(cell->rows * sizes_.filter);
    for (int64_t i = 0; i < sizes_.layers; ++i) {
      for (const Matrix& matrix : Matrices()) {
        MatMul(cpu_, cell->x.data(), cell->rows,
               Weight{pointers_[i][matrix.index], matrix.inputs, matrix.outputs},
               pointers_[i][matrix.index + 1], /*accumulate=*/false, out);
      }
    }
  }

  CachedAttentionShape Shape(const Cell& cell) const {
    return {cell.rows, sizes_.heads, sizes_.head()};
  }

  void RunSelfAttention(Cell* cell, int64_t layer) const {
    const auto part = [&](int64_t i) {
      return HeadRows<const T>{cell->x.data() + i * sizes_.hidden, 3 * sizes_.hidden};
    };
    const auto cache = Growing(cell, layer);
    CachedSelfAttention<T>(cpu_, Shape(*cell), cell->Paths(), part(0), part(1), part(2), cache.keys,
                           cache.values, cell->y.data());
  }

  void RunCrossAttention(Cell* cell, int64_t layer) const {
    const auto memory = Memory(*cell, layer);
    CachedCrossAttention<T>(
        cpu_, Shape(*cell), {cell->sentence_of.data(), cell->memory_lengths.data()},
        {cell->x.data(), sizes_.hidden}, memory.keys, memory.values, cell->y.data());
  }

  void RunLogits(Cell* cell, bool make, bool find) const {
    const int64_t piece = cell->Piece();
    int64_t bad_row = -1;
    for (int64_t first = 0; first < sizes_.vocab; first += piece) {
      const int64_t count = std::min(piece, sizes_.vocab - first);
      const LogitPiece logits = {cell->logits.data(), count, cell->rows, first, count,
                                 sizes_.vocab};
      if (make)
        Logits(cpu_, cell->y.data(), {embeddings_.data(), nullptr, sizes_.hidden, sizes_.vocab},
               logits);
      if (find) {
        TopK(cpu_, logits.ToRead(),
             {cell->k, cell->best_logits.data(), cell->best_ids.data(), cell->log_sums.data(),
              &bad_row});
      }
    }
  }

  const Sizes sizes_;
  ThreadPool threads_;
  mutable StackArena arena_;
  PackedWeights packed_;
  const Cpu cpu_;
  LayerOptions options_;
  std::vector<LayerWeights> weights_;
  std::vector<std::vector<const float*>> pointers_;
  std::vector<float> embeddings_;
  std::unique_ptr<AlignedMemory> memory_;
  double pack_time_;
  std::vector<GenerationLayer<Cpu, T>> layers_;
};

template <typename P>
void RunCells(const Sizes& sizes, const std::string& only_type, int threads, int64_t only_batch,
              int64_t only_beams) {
  if (!only_type.empty() && only_type != P::Name()) return;
  const Rates rates = [&] {
    ThreadPool pool(threads);
    StackArena arena;
    return Rates::Of(Cpu{&pool, &arena}, P());
  }();
  Benchmark<P> benchmark(sizes, threads);
  benchmark.PrintHead(rates);
  for (const int64_t batch : {1, 8, 32}) {
    for (const int64_t beams : {1, 4}) {
      if (only_batch != 0 && (batch != only_batch || beams != only_beams)) continue;
      benchmark.Run(batch, beams, rates);
    }
  }
  std::printf("\n");
}

}  // namespace
}  // namespace tf_ls

int main(int argc, char** argv) {
  using tf_ls::bfloat16;
  using tf_ls::Precision;
  const std::string model = argc > 1 ? argv[1] : "base";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
  const std::string type = argc > 3 ? argv[3] : "";
  const int64_t batch = argc > 5 ? std::atoi(argv[4]) : 0;
  const int64_t beams = argc > 5 ? std::atoi(argv[5]) : 0;
  const std::set<std::string> types = {"", "float32", "bfloat16", "int8", "int8-bfloat16"};
  if ((model != "base" && model != "demo") || threads < 1 || types.count(type) == 0) {
    std::fprintf(stderr,
                 "generation_benchmark [base|demo [THREADS [float32|bfloat16|int8|int8-bfloat16 "
                 "[BATCH BEAMS]]]]\n");
    return 1;
  }
  const tf_ls::Sizes sizes = model == "base" ? tf_ls::kBase : tf_ls::kDemo;
  tf_ls::test::count_own_time = threads == 1;
  tf_ls::RunCells<Precision<float, false>>(sizes, type, threads, batch, beams);
  tf_ls::RunCells<Precision<bfloat16, false>>(sizes, type, threads, batch, beams);
  tf_ls::RunCells<Precision<float, true>>(sizes, type, threads, batch, beams);
  tf_ls::RunCells<Precision<bfloat16, true>>(sizes, type, threads, batch, beams);
}
