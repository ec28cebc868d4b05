#include <algorithm>
#include <cmath>
#include <vector>

#include "cc/kernels/embedding.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

constexpr int64_t kPositionsPerBlock = 64;
constexpr int64_t kRowsPerPiece = 64;

// y = mask * x * factor of one row; y may be x.
void ScaleAndDrop(const Dropout& dropout, int64_t row, const float* x, float factor, int64_t n,
                  float* y) {
  row::Scale(x, factor, n, y);
  if (!dropout.active()) return;
  float* const mask = ThreadBuffer<0>(n);
  row::DropoutMask(dropout, row, 0, n, mask);
  row::Multiply(y, mask, n, y);
}

// A row of a table, and what its numbers are to be multiplied by.
struct Word {
  const float* numbers;
  float scale;
};

template <typename Table>
Word ReadWord(const Table* table, int64_t id, int64_t n, float* buffer) {
  return {ReadRow(table + id * n, n, buffer), 1.0f};
}
Word ReadWord(const Int8Numbers& table, int64_t id, int64_t n, float* buffer) {
  row::Load(table.data + id * n, n, buffer);
  return {buffer, table.scales[id]};
}

template <typename Table, typename T>
void EmbedWords(const Cpu& cpu, const TokenRows& rows, const Dropout& dropout, float scale,
                const Table& table, const float* positions, int64_t n, T* y) {
  ForEachRow(cpu, rows.count, n, dropout.active() ? 4 : 1, [&](int64_t i) {
    T* const to = y + i * n;
    if (rows.ids[i] < 0) {
      std::fill(to, to + n, T{});
      return;
    }
    float* const buffer = ThreadBuffer<1>(n);
    const Word word = ReadWord(table, rows.ids[i], n, buffer);
    float* const out = RowTarget(to, buffer);
    if (positions == nullptr) {
      ScaleAndDrop(dropout, i, word.numbers, scale * word.scale, n, out);
    } else {
      row::ScaleAdd(word.numbers, scale * word.scale, positions + rows.positions[i] * n, n, out);
      if (dropout.active()) ScaleAndDrop(dropout, i, out, 1.0f, n, out);
    }
    WriteRow(out, n, to);
  });
}

// Rows that are summed up one after the other.
struct Piece {
  const int64_t* rows;
  int64_t count;
  float* sum;
};

// A sum that is made of several pieces, which lie one behind the other.
struct LongSum {
  const float* pieces;
  int64_t count;
  float* sum;
};

}  // namespace

void SinusoidalPositions(const Cpu& cpu, int64_t start, int64_t count, int64_t n, float* y) {
  const int64_t waves = n / 2;
  const double ratio = waves > 1 ? -std::log(1e4) / static_cast<double>(waves - 1) : 0.0;
  std::vector<double> frequency(waves), step_sine(waves), step_cosine(waves);
  for (int64_t j = 0; j < waves; ++j) {
    frequency[j] = std::exp(ratio * static_cast<double>(j));
    step_sine[j] = std::sin(frequency[j]);
    step_cosine[j] = std::cos(frequency[j]);
  }
  const int64_t blocks = (count + kPositionsPerBlock - 1) / kPositionsPerBlock;
  cpu.threads->ParallelFor(blocks, 4 * kPositionsPerBlock * n, [&](int64_t begin, int64_t end) {
    std::vector<double> sine(waves), cosine(waves);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kPositionsPerBlock;
      for (int64_t j = 0; j < waves; ++j) {
        const double angle = static_cast<double>(start + first) * frequency[j];
        sine[j] = std::sin(angle);
        cosine[j] = std::cos(angle);
      }
      for (int64_t i = first; i < std::min(count, first + kPositionsPerBlock); ++i) {
        float* const out = y + i * n;
        for (int64_t j = 0; j < waves; ++j) {
          out[j] = static_cast<float>(sine[j]);
          out[waves + j] = static_cast<float>(cosine[j]);
          const double next = sine[j] * step_cosine[j] + cosine[j] * step_sine[j];
          cosine[j] = cosine[j] * step_cosine[j] - sine[j] * step_sine[j];
          sine[j] = next;
        }
        if (n % 2 != 0) out[n - 1] = 0.0f;
      }
    }
  });
}

template <typename Table, typename T>
void Embed(const Cpu& cpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Table* table, const float* positions, int64_t n, T* y) {
  EmbedWords(cpu, rows, dropout, scale, table, positions, n, y);
}

template <typename T>
void Embed(const Cpu& cpu, const TokenRows& rows, const Dropout& dropout, float scale,
           const Int8Numbers& table, const float* positions, int64_t n, T* y) {
  EmbedWords(cpu, rows, dropout, scale, table, positions, n, y);
}

template <typename T>
void EmbedRowGradient(const Cpu& cpu, const TokenRows& rows, const Dropout& dropout, float scale,
                      const T* dy, int64_t n, float* dvalues) {
  const ArenaScope scope(cpu.arena);
  int64_t* const place = cpu.arena->Allocate<int64_t>(rows.count);
  int64_t count = 0;
  for (int64_t i = 0; i < rows.count; ++i) {
    place[i] = count;
    if (rows.ids[i] >= 0) ++count;
  }
  ForEachRow(cpu, rows.count, n, dropout.active() ? 4 : 1, [&](int64_t i) {
    if (rows.ids[i] < 0) return;
    const float* const gradient = ReadRow(dy + i * n, n, ThreadBuffer<1>(n));
    ScaleAndDrop(dropout, i, gradient, scale, n, dvalues + place[i] * n);
  });
}

template <typename T>
void EmbedTableGradient(const Cpu& cpu, const TokenRows& rows, const int32_t* keys,
                        const Dropout& dropout, float scale, const T* dy, int64_t n, int64_t size,
                        float* dtable) {
  const ArenaScope scope(cpu.arena);
  // Sorts rows by their keys: those of key k lie from start[k] to start[k + 1].
  int64_t* const start = cpu.arena->Allocate<int64_t>(size + 2);
  std::fill(start, start + size + 2, 0);
  for (int64_t i = 0; i < rows.count; ++i) {
    if (rows.ids[i] >= 0) ++start[keys[i] + 2];
  }
  for (int64_t key = 0; key < size; ++key) start[key + 2] += start[key + 1];
  int64_t* const sorted = cpu.arena->Allocate<int64_t>(start[size + 1]);
  for (int64_t i = 0; i < rows.count; ++i) {
    if (rows.ids[i] >= 0) sorted[start[keys[i] + 1]++] = i;
  }

  // A frequent key's rows are cut into pieces, so that one thread does not get them all.
  std::vector<Piece> pieces;
  std::vector<LongSum> long_sums;
  for (int64_t key = 0; key < size; ++key) {
    const int64_t count = start[key + 1] - start[key];
    if (count == 0) continue;
    float* sum = dtable + key * n;
    if (count > kRowsPerPiece) {
      const int64_t parts = (count + kRowsPerPiece - 1) / kRowsPerPiece;
      long_sums.push_back({cpu.arena->Allocate<float>(parts * n), parts, sum});
      sum = const_cast<float*>(long_sums.back().pieces);
    }
    for (int64_t done = 0; done < count; done += kRowsPerPiece, sum += n) {
      pieces.push_back({sorted + start[key] + done, std::min(count - done, kRowsPerPiece), sum});
    }
  }

  ForEachRow(cpu, size, n, 1, [&](int64_t key) {
    if (start[key + 1] == start[key]) std::fill(dtable + key * n, dtable + (key + 1) * n, 0.0f);
  });
  const int64_t rows_per_piece = pieces.empty() ? 0 : start[size] / pieces.size() + 1;
  ForEachRow(cpu, pieces.size(), n, rows_per_piece * (dropout.active() ? 4 : 1), [&](int64_t i) {
    const Piece& piece = pieces[i];
    for (int64_t k = 0; k < piece.count; ++k) {
      const int64_t row = piece.rows[k];
      const float* const gradient = ReadRow(dy + row * n, n, ThreadBuffer<1>(n));
      float* const out = k == 0 ? piece.sum : ThreadBuffer<2>(n);
      ScaleAndDrop(dropout, row, gradient, scale, n, out);
      if (k > 0) row::Add(piece.sum, out, n, piece.sum);
    }
  });
  for (const LongSum& long_sum : long_sums) {
    std::copy(long_sum.pieces, long_sum.pieces + n, long_sum.sum);
    for (int64_t k = 1; k < long_sum.count; ++k) {
      row::Add(long_sum.sum, long_sum.pieces + k * n, n, long_sum.sum);
    }
  }
}

template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const float*, const float*,
                    int64_t, float*);
template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const bfloat16*,
                    const float*, int64_t, float*);
template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const float16*,
                    const float*, int64_t, float*);
template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const float*, const float*,
                    int64_t, bfloat16*);
template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const bfloat16*,
                    const float*, int64_t, bfloat16*);
template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const float16*,
                    const float*, int64_t, bfloat16*);
template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const Int8Numbers&,
                    const float*, int64_t, float*);
template void Embed(const Cpu&, const TokenRows&, const Dropout&, float, const Int8Numbers&,
                    const float*, int64_t, bfloat16*);
template void EmbedRowGradient(const Cpu&, const TokenRows&, const Dropout&, float, const float*,
                               int64_t, float*);
template void EmbedRowGradient(const Cpu&, const TokenRows&, const Dropout&, float, const bfloat16*,
                               int64_t, float*);
template void EmbedTableGradient(const Cpu&, const TokenRows&, const int32_t*, const Dropout&,
                                 float, const float*, int64_t, int64_t, float*);
template void EmbedTableGradient(const Cpu&, const TokenRows&, const int32_t*, const Dropout&,
                                 float, const bfloat16*, int64_t, int64_t, float*);

}  // namespace tf_ls
