#include <cmath>
#include <type_traits>

#include "cc/kernels/embedding.h"
#include "cc/kernels/gpu_chunk.cu.h"
#include "cc/kernels/gpu_dropout_mask.cu.h"
#include "cc/kernels/group_rows.h"

namespace tf_ls {
namespace {

using gpu::DropoutMask;

// So many neighbours among sorted rows, if all have the same key, are summed up beforehand. (64
// were measured, too, on an H100: a thread then takes longer for a frequent key than all others for
// the rest.)
constexpr int64_t kTileRows = 16;

// Writes count * n * 4 bytes; an exponential, a sine and a cosine in double precision for each pair
// of numbers, some 150 operations: an angle is large and its fraction counts.
struct Sinusoids {
  static constexpr int kCount = 1;

  __device__ void operator()(int64_t i, int64_t wave) const {
    float* const out = y + i * n;
    if (wave == waves) {
      out[n - 1] = 0.0f;
      return;
    }
    double sine, cosine;
    sincos(static_cast<double>(start + i) * exp(ratio * static_cast<double>(wave)), &sine, &cosine);
    out[wave] = static_cast<float>(sine);
    out[waves + wave] = static_cast<float>(cosine);
  }

  const int64_t start;
  const int64_t n;
  const int64_t waves;
  const double ratio;
  float* const y;
};

// Reads a row of each table and writes one of y: count * n * (sizeof(Table) + 4 + sizeof(T)) bytes.
// word_scales: of each id, of a table in int8 only.
template <typename Table, typename T, bool packed>
struct LookUp {
  static constexpr int kCount = gpu::Chunk<T, packed>::kCount;

  __device__ void operator()(int64_t row, int64_t column) const {
    gpu::Chunk<T, packed> out = {};
    const int64_t id = rows.ids[row];
    if (id >= 0) {
      gpu::Chunk<Table, packed, kCount> word;
      gpu::Chunk<float, packed, kCount> position = {};
      word.Load(table + id * n, column, n);
      if (positions != nullptr) {
        position.Load(positions + int64_t{rows.positions[row]} * n, column, n);
      }
      float factor = scale;
      if constexpr (std::is_same<Table, int8_t>::value) factor *= word_scales[id];
#pragma unroll
      for (int i = 0; i < kCount; ++i) out.values[i] = word.values[i] * factor + position.values[i];
      mask.Multiply<kCount>(row, /*lane=*/0, column, out.values);
    }
    out.Store(y + row * n, column, n);
  }

  const TokenRows rows;
  const DropoutMask mask;
  const float scale;
  const Table* const table;
  const float* const word_scales;
  const float* const positions;
  const int64_t n;
  T* const y;
};

template <typename Table, typename T>
void EmbedWords(const Gpu& gpu, const TokenRows& rows, const Dropout& dropout, float scale,
                const Table* table, const float* word_scales, const float* positions, int64_t n,
                T* y) {
  const auto run = [&](auto packed) {
    gpu::ForEachChunk(gpu.stream, rows.count, n,
                      LookUp<Table, T, decltype(packed)::value>{
                          rows, DropoutMask(dropout), scale, table, word_scales, positions, n, y});
  };
  gpu::ForPacked<T>(run, n, table, positions, y);
}

// What a row adds to a gradient: mask * dy * scale.
template <typename T, bool packed>
struct Contribution {
  using Numbers = gpu::Chunk<float, packed>;
  static constexpr int kCount = Numbers::kCount;
  using Given = gpu::Chunk<T, packed, kCount>;

  __device__ Given Load(int64_t row, int64_t column) const {
    Given given;
    given.Load(dy + row * n, column, n);
    return given;
  }

  __device__ Numbers Of(const Given& given, int64_t row, int64_t column) const {
    Numbers numbers;
#pragma unroll
    for (int i = 0; i < kCount; ++i) numbers.values[i] = given.values[i] * scale;
    mask.Multiply<kCount>(row, /*lane=*/0, column, numbers.values);
    return numbers;
  }

  const DropoutMask mask;
  const float scale;
  const T* const dy;
  const int64_t n;
};

// The groups that rows belong to: their keys, or one for all; `none` without a token. Reads 8 bytes
// a row and writes 4.
struct GroupOfRow {
  static constexpr int kCount = 1;

  __device__ void operator()(int64_t row, int64_t /*column*/) const {
    const int32_t key = keys == nullptr ? 0 : keys[row];
    groups[row] = ids[row] < 0 ? none : key;
  }

  const int32_t* const ids;
  const int32_t* const keys;
  const int32_t none;
  int32_t* const groups;
};

// Reads dy and writes dvalues: count * n * (sizeof(T) + 4) bytes.
template <typename T, bool packed>
struct WriteRows {
  static constexpr int kCount = Contribution<T, packed>::kCount;

  __device__ void operator()(int64_t i, int64_t column) const {
    if (i >= tokens.starts[1]) return;
    const int64_t row = tokens.order[i];
    contribution.Of(contribution.Load(row, column), row, column)
        .Store(dvalues + i * contribution.n, column, contribution.n);
  }

  const Contribution<T, packed> contribution;
  const RowGroups tokens;  // one group of all
  float* const dvalues;
};

// A sum of rows' contributions, in their order.
template <typename T, bool packed>
struct RowSum {
  using Numbers = typename Contribution<T, packed>::Numbers;
  static constexpr int kCount = Numbers::kCount;

  __device__ void Add(const Numbers& numbers) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum.values[i] += numbers.values[i];
  }

  __device__ void AddRows(const Contribution<T, packed>& contribution, const int32_t* rows,
                          int64_t begin, int64_t end, int64_t column) {
    constexpr int kAtOnce = 4;  // on their way from memory; 8 take registers, and the table longer
    for (int64_t i = begin; i < end; i += kAtOnce) {
      typename Contribution<T, packed>::Given given[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (i + k < end) given[k] = contribution.Load(rows[i + k], column);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (i + k < end) Add(contribution.Of(given[k], rows[i + k], column));
      }
    }
  }

  Numbers sum = {};
};

// Sums up tiles of rows that have the same key. Reads at most all of dy, writes at most a row of
// float32 for 16 of it.
template <typename T, bool packed>
struct SumTile {
  static constexpr int kCount = Contribution<T, packed>::kCount;

  __device__ void operator()(int64_t tile, int64_t column) const {
    const int32_t* const order = groups.order + tile * kTileRows;
    const int32_t key = group_of_row[order[0]];
    if (key == none || key != group_of_row[order[kTileRows - 1]]) return;
    RowSum<T, packed> total;
    total.AddRows(contribution, order, 0, kTileRows, column);
    total.sum.Store(tiles + tile * contribution.n, column, contribution.n);
  }

  const Contribution<T, packed> contribution;
  const RowGroups groups;
  const int32_t* const group_of_row;
  const int32_t none;
  float* const tiles;
};

// Adds up the rows of a key, those in whole tiles from their sums. Reads what is left of dy and
// writes dtable: size * n * 4 bytes.
template <typename T, bool packed>
struct SumKey {
  static constexpr int kCount = Contribution<T, packed>::kCount;

  __device__ void operator()(int64_t key, int64_t column) const {
    const int64_t n = contribution.n;
    const int64_t begin = groups.starts[key];
    const int64_t end = groups.starts[key + 1];
    const int64_t first_tile = (begin + kTileRows - 1) / kTileRows;
    const int64_t last_tile = end / kTileRows;
    RowSum<T, packed> total;
    const bool tiled = first_tile < last_tile;
    total.AddRows(contribution, groups.order, begin, tiled ? first_tile * kTileRows : end, column);
    if (tiled) {
#pragma unroll 4
      for (int64_t tile = first_tile; tile < last_tile; ++tile) {
        typename RowSum<T, packed>::Numbers sum;
        sum.Load(tiles + tile * n, column, n);
        total.Add(sum);
      }
      total.AddRows(contribution, groups.order, last_tile * kTileRows, end, column);
    }
    total.sum.Store(dtable + key * n, column, n);
  }

  const Contribution<T, packed> contribution;
  const RowGroups groups;
  const float* const tiles;
  float* const dtable;
};

// [rows]: what GroupOfRow says, in memory of the arena.
int32_t* GroupsOfRows(const Gpu& gpu, const TokenRows& rows, const int32_t* keys, int64_t none) {
  int32_t* const groups = gpu.arena->Allocate<int32_t>(rows.count);
  gpu::ForEachChunk(gpu.stream, rows.count, 1,
                    GroupOfRow{rows.ids, keys, static_cast<int32_t>(none), groups});
  return groups;
}

}  // namespace

void SinusoidalPositions(const Gpu& gpu, int64_t start, int64_t count, int64_t n, float* y) {
  const int64_t waves = n / 2;
  const double ratio = waves > 1 ? -std::log(1e4) / static_cast<double>(waves - 1) : 0.0;
  gpu::ForEachChunk(gpu.stream, count, n - waves, Sinusoids{start, n, waves, ratio, y});
}

template <typename Table, typename T>
void Embed(const Gpu& gpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Table* table, const float* positions, int64_t n, T* y) {
  EmbedWords(gpu, rows, dropout, scale, table, /*word_scales=*/nullptr, positions, n, y);
}

template <typename T>
void Embed(const Gpu& gpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Int8Numbers& table, const float* positions, int64_t n, T* y) {
  EmbedWords(gpu, rows, dropout, scale, table.data, table.scales, positions, n, y);
}

template <typename T>
void EmbedRowGradient(const Gpu& gpu, const TokenRows& rows, const Dropout& dropout, float scale,
                      const T* dy, int64_t n, float* dvalues) {
  const ArenaScope scope(gpu.arena);
  const int32_t* const groups = GroupsOfRows(gpu, rows, /*keys=*/nullptr, /*none=*/1);
  const RowGroups tokens = GroupRows(gpu, groups, static_cast<int32_t>(rows.count), 1);
  const auto run = [&](auto packed) {
    gpu::ForEachChunk(gpu.stream, rows.count, n,
                      WriteRows<T, decltype(packed)::value>{
                          {DropoutMask(dropout), scale, dy, n}, tokens, dvalues});
  };
  gpu::ForPacked<float>(run, n, dy, dvalues);
}

template <typename T>
void EmbedTableGradient(const Gpu& gpu, const TokenRows& rows, const int32_t* keys,
                        const Dropout& dropout, float scale, const T* dy, int64_t n, int64_t size,
                        float* dtable) {
  const ArenaScope scope(gpu.arena);
  const int32_t* const group_of_row = GroupsOfRows(gpu, rows, keys, size);
  const RowGroups groups =
      GroupRows(gpu, group_of_row, static_cast<int32_t>(rows.count), static_cast<int32_t>(size));
  const int64_t tile_count = rows.count / kTileRows;
  float* const tiles = gpu.arena->Allocate<float>(tile_count * n);
  const auto run = [&](auto packed) {
    constexpr bool kPacked = decltype(packed)::value;
    const Contribution<T, kPacked> contribution{DropoutMask(dropout), scale, dy, n};
    gpu::ForEachChunk(
        gpu.stream, tile_count, n,
        SumTile<T, kPacked>{contribution, groups, group_of_row, static_cast<int32_t>(size), tiles});
    gpu::ForEachChunk(gpu.stream, size, n, SumKey<T, kPacked>{contribution, groups, tiles, dtable});
  };
  gpu::ForPacked<float>(run, n, dy, tiles, dtable);
}

template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const float*, const float*,
                    int64_t, float*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const float*, const float*,
                    int64_t, float16*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const float*, const float*,
                    int64_t, bfloat16*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const float16*,
                    const float*, int64_t, float*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const float16*,
                    const float*, int64_t, float16*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const float16*,
                    const float*, int64_t, bfloat16*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const bfloat16*,
                    const float*, int64_t, float*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const bfloat16*,
                    const float*, int64_t, float16*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const bfloat16*,
                    const float*, int64_t, bfloat16*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const Int8Numbers&,
                    const float*, int64_t, float*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const Int8Numbers&,
                    const float*, int64_t, float16*);
template void Embed(const Gpu&, const TokenRows&, const Dropout&, float, const Int8Numbers&,
                    const float*, int64_t, bfloat16*);
template void EmbedRowGradient(const Gpu&, const TokenRows&, const Dropout&, float, const float*,
                               int64_t, float*);
template void EmbedRowGradient(const Gpu&, const TokenRows&, const Dropout&, float, const float16*,
                               int64_t, float*);
template void EmbedRowGradient(const Gpu&, const TokenRows&, const Dropout&, float, const bfloat16*,
                               int64_t, float*);
template void EmbedTableGradient(const Gpu&, const TokenRows&, const int32_t*, const Dropout&,
                                 float, const float*, int64_t, int64_t, float*);
template void EmbedTableGradient(const Gpu&, const TokenRows&, const int32_t*, const Dropout&,
                                 float, const float16*, int64_t, int64_t, float*);
template void EmbedTableGradient(const Gpu&, const TokenRows&, const int32_t*, const Dropout&,
                                 float, const bfloat16*, int64_t, int64_t, float*);

}  // namespace tf_ls
