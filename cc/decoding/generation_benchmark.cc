// Times a step of generation on the CPU: the layers, the logits and the best words of each row, of
// a model with random weights, without TensorFlow.
//
//     generation_benchmark [THREADS [float32|bfloat16 [BATCH BEAMS]]]
//
// prints for each cell the milliseconds of a step and of its parts, each part run alone over all
// layers, and two floors: arithmetic, at the rate of a large product, and bytes that are read, at
// the rate of reading memory, both measured in the same run. With one thread it is the
// thread's own time that counts.

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/thread_pool.h"
#include "cc/decoding/generation_layer.h"
#include "cc/kernels/logits.h"
#include "cc/kernels/matmul.h"
#include "cc/kernels/packed_weights.h"
#include "cc/kernels/row_math.h"
#include "cc/kernels/top_k.h"
#include "cc/testing/layer_weights.h"
#include "cc/testing/values.h"

namespace tf_ls {
namespace {

using test::LayerWeights;
using test::Random;

// NeurST's transformer_base.
constexpr int64_t kHidden = 512, kHeads = 8, kFilter = 2048, kLayers = 6, kVocab = 32000;
constexpr int64_t kSize = kHidden / kHeads;
constexpr int64_t kSource = 32, kCached = 32, kMaxLength = 64;

// Whether this thread's own time is counted, instead of the clock's: for one thread on a machine
// that is busy with other things.
bool count_own_time = false;

double Seconds() {
  timespec now;
  clock_gettime(count_own_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Milliseconds of a call, the least of many: what others do on the machine only adds to it.
double Time(const std::function<void()>& call) {
  std::vector<double> times;
  const double start = Seconds();
  call();
  while (times.size() < 5 || (times.size() < 200 && Seconds() - start < 0.3)) {
    const double before = Seconds();
    call();
    times.push_back((Seconds() - before) * 1e3);
  }
  return *std::min_element(times.begin(), times.end());
}

// Scratch memory that is as cheap to get as from TensorFlow's allocator.
class StackArena : public BlockArena {
 public:
  StackArena() : BlockArena(size_t{256} << 20) {}

 protected:
  std::shared_ptr<void> NewBlock(size_t bytes) override {
    const std::shared_ptr<void> block(std::malloc(bytes + kAlignment), std::free);
    void* start = block.get();
    size_t space = bytes + kAlignment;
    return {block, std::align(kAlignment, bytes, start, space)};
  }
};

// Numbers a nanosecond that products and reading memory reach at best, in the type T.
template <typename T>
struct Rates {
  double flops;
  double bytes;

  explicit Rates(const Cpu& cpu) {
    constexpr int64_t kRows = 1024;
    const auto w = Random<float>(kHidden * kFilter, 1);
    const auto x = Random<T>(kRows * kHidden, 2);
    std::vector<T> y(kRows * kFilter);
    const Weight weight = {w.data(), kHidden, kFilter};
    flops = 2.0 * kRows * kHidden * kFilter / 1e6 /
            Time([&] { MatMul(cpu, x.data(), kRows, weight, nullptr, false, y.data()); });
    constexpr int64_t kRow = 4096, kCount = 16384;
    const std::vector<float> memory(kRow * kCount, 1.0f);
    std::vector<const float*> rows;
    for (int64_t i = 0; i < kCount; ++i) rows.push_back(memory.data() + i * kRow);
    std::vector<float> products(kCount);
    bytes = 4.0 * kRow * kCount / 1e6 / Time([&] {
              cpu.threads->ParallelFor(kCount, kRow, [&](int64_t begin, int64_t end) {
                row::Products(memory.data(), rows.data() + begin, end - begin, kRow,
                              products.data() + begin);
              });
            });
  }
};

template <typename T>
class Benchmark {
 public:
  explicit Benchmark(int threads) : threads_(threads), cpu_{&threads_, &arena_, &packed_} {
    options_.hidden_size = options_.memory_size = kHidden;
    options_.num_heads = kHeads;
    options_.filter_size = kFilter;
    std::vector<WeightPiece> pieces;
    for (int64_t i = 0; i < kLayers; ++i) {
      weights_.push_back(LayerWeights::Random(options_, 10));
      pointers_.push_back(weights_.back().pointers());
      for (const Matrix& matrix : Matrices()) {
        pieces.push_back({pointers_.back()[matrix.index], matrix.inputs, matrix.outputs});
      }
    }
    embeddings_ = Random<float>(kVocab * kHidden, 3, 0.05);
    pieces.push_back({embeddings_.data(), kVocab, kHidden, /*transposed=*/true});
    memory_.resize(PlacePacked<T>(pieces, nullptr, nullptr) + kAlignment);
    void* start = memory_.data();
    size_t space = memory_.size();
    std::align(kAlignment, memory_.size() - kAlignment, start, space);
    pack_time_ = Time([&] { PackWeights<T>(cpu_, pieces, start); });
    PlacePacked<T>(pieces, start, &packed_);
    for (int64_t i = 0; i < kLayers; ++i) layers_.emplace_back(cpu_, options_, pointers_[i].data());
  }

  void PrintHead(const Rates<T>& rates) const {
    std::printf("%s: %.0f GFLOP/s, %.1f GB/s, packing %.1f ms\n\n",
                std::is_same<T, float>::value ? "float32" : "bfloat16", rates.flops, rates.bytes,
                pack_time_);
    std::printf(
        "| batch | beams | a step | products | self-attention | cross-attention | norms, rest | "
        "logits | top k | arithmetic | bytes | share of floor |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  }

  void Run(int64_t batch, int64_t beams, const Rates<T>& rates) {
    const int64_t rows = batch * beams;
    Cell cell(batch, beams);
    const double step = Time([&] {
      RunLayers(&cell);
      RunLogits(&cell, true, true);
    });
    const double layers = Time([&] { RunLayers(&cell); });
    const double products = Time([&] { RunProducts(&cell); });
    const double self = Time([&] {
      for (int64_t i = 0; i < kLayers; ++i) RunSelfAttention(&cell, i);
    });
    const double cross = Time([&] {
      for (int64_t i = 0; i < kLayers; ++i) RunCrossAttention(&cell, i);
    });
    const double logits = Time([&] { RunLogits(&cell, true, false); });
    const double best = Time([&] { RunLogits(&cell, false, true); });

    double numbers = static_cast<double>(kVocab) * kHidden;
    for (const Matrix& matrix : Matrices())
      numbers += 1.0 * kLayers * matrix.inputs * matrix.outputs;
    const double positions = 2.0 * kLayers * kHidden * (rows * (kCached + 1) + batch * kSource);
    const double attention = 4.0 * kLayers * kHidden * rows * (kCached + 1 + kSource);
    const double arithmetic = (2 * numbers * rows + attention) / rates.flops / 1e6;
    const double bytes = (numbers + positions) * sizeof(T) / rates.bytes / 1e6;
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
  static std::vector<Matrix> Matrices() {
    return {{2, kHidden, 3 * kHidden}, {4, kHidden, kHidden},  {8, kHidden, kHidden},
            {12, kHidden, kHidden},    {16, kHidden, kFilter}, {18, kFilter, kHidden}};
  }

  // What steps of one number of rows work on.
  struct Cell {
    Cell(int64_t batch, int64_t beams)
        : rows(batch * beams),
          k(beams == 1 ? 1 : 2 * beams),
          x(Random<T>(rows * kFilter, 1)),
          y(rows * kFilter),
          keys(Random<T>(kLayers * rows * kMaxLength * kHidden, 2)),
          values(keys),
          kv(Random<T>(kLayers * batch * kSource * 2 * kHidden, 3)),
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
      return std::min(kVocab, std::max<int64_t>(1, (1 << 20) / rows / 256) * 256);
    }
    BeamPaths Paths() const { return {slots.data(), lengths.data(), kMaxLength}; }

    const int64_t rows, k;
    std::vector<T> x, y, keys, values, kv;
    std::vector<int32_t> slots, lengths, sentence_of, memory_lengths;
    std::vector<float> logits, best_logits;
    std::vector<int32_t> best_ids;
    std::vector<double> log_sums;
  };

  typename GenerationLayer<Cpu, T>::GrowingCache Growing(Cell* cell, int64_t layer) const {
    const int64_t start = layer * cell->rows * kMaxLength * kHidden;
    return {GrowingSlots(cell->keys.data() + start, kHeads, kMaxLength, kSize),
            GrowingSlots(cell->values.data() + start, kHeads, kMaxLength, kSize)};
  }
  typename GenerationLayer<Cpu, T>::MemoryCache Memory(const Cell& cell, int64_t layer) const {
    const T* const start = cell.kv.data() + cell.kv.size() / kLayers * layer;
    return {MemorySlots(start, kSource, 2 * kHidden, kSize),
            MemorySlots(start + kHidden, kSource, 2 * kHidden, kSize)};
  }

  void RunLayers(Cell* cell) const {
    std::copy_n(cell->x.data(), cell->rows * kHidden, cell->y.data());
    for (int64_t i = 0; i < kLayers; ++i) {
      layers_[i].Forward(cell->rows, cell->Paths(), Growing(cell, i),
                         {cell->sentence_of.data(), cell->memory_lengths.data()}, Memory(*cell, i),
                         cell->y.data());
    }
  }

  void RunProducts(Cell* cell) const {
    const ArenaScope scope(&arena_);
    T* const out = arena_.template Allocate<T>(cell->rows * kFilter);
    for (int64_t i = 0; i < kLayers; ++i) {
      for (const Matrix& matrix : Matrices()) {
        MatMul(cpu_, cell->x.data(), cell->rows,
               Weight{pointers_[i][matrix.index], matrix.inputs, matrix.outputs},
               pointers_[i][matrix.index + 1], /*accumulate=*/false, out);
      }
    }
  }

  CachedAttentionShape Shape(const Cell& cell) const { return {cell.rows, kHeads, kSize}; }

  void RunSelfAttention(Cell* cell, int64_t layer) const {
    const auto part = [&](int64_t i) {
      return HeadRows<const T>{cell->x.data() + i * kHidden, 3 * kHidden};
    };
    const auto cache = Growing(cell, layer);
    CachedSelfAttention<T>(cpu_, Shape(*cell), cell->Paths(), part(0), part(1), part(2), cache.keys,
                           cache.values, cell->y.data());
  }

  void RunCrossAttention(Cell* cell, int64_t layer) const {
    const auto memory = Memory(*cell, layer);
    CachedCrossAttention<T>(cpu_, Shape(*cell),
                            {cell->sentence_of.data(), cell->memory_lengths.data()},
                            {cell->x.data(), kHidden}, memory.keys, memory.values, cell->y.data());
  }

  void RunLogits(Cell* cell, bool make, bool find) const {
    const int64_t piece = cell->Piece();
    int64_t bad_row = -1;
    for (int64_t first = 0; first < kVocab; first += piece) {
      const int64_t count = std::min(piece, kVocab - first);
      const LogitPiece logits = {cell->logits.data(), count, cell->rows, first, count, kVocab};
      if (make)
        Logits(cpu_, cell->y.data(), {embeddings_.data(), nullptr, kHidden, kVocab}, logits);
      if (find) {
        TopK(cpu_, logits.ToRead(),
             {cell->k, cell->best_logits.data(), cell->best_ids.data(), cell->log_sums.data(),
              &bad_row});
      }
    }
  }

  ThreadPool threads_;
  mutable StackArena arena_;
  PackedWeights packed_;
  const Cpu cpu_;
  LayerOptions options_;
  std::vector<LayerWeights> weights_;
  std::vector<std::vector<const float*>> pointers_;
  std::vector<float> embeddings_;
  std::vector<unsigned char> memory_;
  double pack_time_;
  std::vector<GenerationLayer<Cpu, T>> layers_;
};

template <typename T>
void RunCells(int threads, int64_t only_batch, int64_t only_beams) {
  const Rates<T> rates = [&] {
    ThreadPool pool(threads);
    StackArena arena;
    return Rates<T>(Cpu{&pool, &arena});
  }();
  Benchmark<T> benchmark(threads);
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
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const std::string type = argc > 2 ? argv[2] : "";
  const int64_t batch = argc > 4 ? std::atoi(argv[3]) : 0;
  const int64_t beams = argc > 4 ? std::atoi(argv[4]) : 0;
  if (threads < 1 || (!type.empty() && type != "float32" && type != "bfloat16")) {
    std::fprintf(stderr, "generation_benchmark [THREADS [float32|bfloat16 [BATCH BEAMS]]]\n");
    return 1;
  }
  tf_ls::count_own_time = threads == 1;
  if (type != "bfloat16") tf_ls::RunCells<float>(threads, batch, beams);
  if (type != "float32") tf_ls::RunCells<tf_ls::bfloat16>(threads, batch, beams);
}
