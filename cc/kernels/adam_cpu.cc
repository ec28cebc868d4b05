#include <algorithm>
#include <cmath>

#include "cc/kernels/adam.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

// Numbers that a thread takes at a time: few enough for the first-level cache to keep a gradient
// that is read twice, and to spread one large variable over all threads.
constexpr int64_t kPieceSize = 4096;

// Numbers [begin, end) of a variable; whole rows where the gradient is given by rows, of which
// those at rows[0..row_count) fall in here.
struct Piece {
  const AdamVariable* variable;
  int64_t begin;
  int64_t end;
  const int64_t* rows;
  int64_t row_count;
};

// What is known of a gradient, or of a piece of it.
struct Measure {
  double squares = 0.0;
  bool finite = true;

  void operator+=(const Measure& other) {
    squares += other.squares;
    finite = finite && other.finite;
  }
};

void CutDense(const AdamVariable& variable, std::vector<Piece>* pieces) {
  for (int64_t begin = 0; begin < variable.size; begin += kPieceSize) {
    pieces->push_back({&variable, begin, std::min(variable.size, begin + kPieceSize), nullptr, 0});
  }
}

// Sorts the gradient's rows by the piece that they fall in; within one they stay in their order.
void CutSparse(const Cpu& cpu, const AdamVariable& variable, std::vector<Piece>* pieces) {
  if (variable.size == 0) return;
  const int64_t piece_rows = std::max<int64_t>(1, kPieceSize / variable.row_size);
  const int64_t count = (variable.size / variable.row_size + piece_rows - 1) / piece_rows;
  std::vector<int64_t> ends(count + 1, 0);
  for (int64_t i = 0; i < variable.row_count; ++i) ++ends[variable.indices[i] / piece_rows + 1];
  for (int64_t i = 0; i < count; ++i) ends[i + 1] += ends[i];
  int64_t* const rows = cpu.arena->Allocate<int64_t>(variable.row_count);
  // Each start moves to its piece's end, which is the next one's start.
  for (int64_t i = 0; i < variable.row_count; ++i) {
    rows[ends[variable.indices[i] / piece_rows]++] = i;
  }
  const int64_t size = piece_rows * variable.row_size;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t start = i == 0 ? 0 : ends[i - 1];
    pieces->push_back({&variable, i * size, std::min(variable.size, (i + 1) * size), rows + start,
                       ends[i] - start});
  }
}

// n numbers of a gradient, multiplied and clipped by value; in place if nothing is to be done.
const float* ReadGradient(const AdamOptions& options, const float* gradient, int64_t n,
                          float* buffer) {
  if (options.gradient_factor == 1.0 && std::isinf(options.clip_value)) return gradient;
  row::ScaleAndClip(gradient, static_cast<float>(options.gradient_factor),
                    static_cast<float>(options.clip_value), n, buffer);
  return buffer;
}

Measure MeasureNumbers(const AdamOptions& options, const float* gradient, int64_t n) {
  Measure measure;
  measure.squares = row::SumOfSquares(ReadGradient(options, gradient, n, ThreadBuffer<0>(n)), n);
  measure.finite = std::isfinite(measure.squares);
  // Clipping by value hides infinities.
  if (!std::isinf(options.clip_value)) {
    AdamOptions unclipped = options;
    unclipped.clip_value = std::numeric_limits<double>::infinity();
    measure.finite = MeasureNumbers(unclipped, gradient, n).finite;
  }
  return measure;
}

Measure MeasurePiece(const AdamOptions& options, const Piece& piece) {
  const AdamVariable& variable = *piece.variable;
  if (!variable.sparse) {
    return MeasureNumbers(options, variable.gradient + piece.begin, piece.end - piece.begin);
  }
  Measure measure;
  for (int64_t i = 0; i < piece.row_count; ++i) {
    measure += MeasureNumbers(options, variable.gradient + piece.rows[i] * variable.row_size,
                              variable.row_size);
  }
  return measure;
}

void UpdatePiece(const AdamOptions& options, float clip_factor, const Piece& piece) {
  const AdamVariable& variable = *piece.variable;
  const int64_t n = piece.end - piece.begin;
  const float* gradient;
  if (!variable.sparse) {
    gradient = ReadGradient(options, variable.gradient + piece.begin, n, ThreadBuffer<0>(n));
  } else {
    float* const sum = ThreadBuffer<1>(n);
    std::fill(sum, sum + n, 0.0f);
    const int64_t row_size = variable.row_size;
    for (int64_t i = 0; i < piece.row_count; ++i) {
      const int64_t row = piece.rows[i];
      float* const to = sum + variable.indices[row] * row_size - piece.begin;
      row::Add(to,
               ReadGradient(options, variable.gradient + row * row_size, row_size,
                            ThreadBuffer<0>(row_size)),
               row_size, to);
    }
    gradient = sum;
  }
  const double rate =
      options.learning_rate * std::sqrt(1.0 - options.beta2_power) / (1.0 - options.beta1_power);
  const row::AdamCoefficients coefficients = {
      clip_factor,
      static_cast<float>(1.0 - options.beta1),
      static_cast<float>(1.0 - options.beta2),
      static_cast<float>(rate),
      static_cast<float>(options.epsilon),
      static_cast<float>(options.learning_rate * variable.weight_decay)};
  row::Adam(coefficients, gradient, n, variable.m + piece.begin, variable.v + piece.begin,
            variable.variable + piece.begin);
}

// What brings a gradient of that norm to the norm that is allowed.
float ClipFactor(const AdamOptions& options, double norm) {
  return norm > options.clip_norm ? static_cast<float>(options.clip_norm / norm) : 1.0f;
}

}  // namespace

void Adam(const Cpu& cpu, const AdamOptions& options, const std::vector<AdamVariable>& variables,
          bool* finite, float* norm) {
  const ArenaScope scope(cpu.arena);
  std::vector<Piece> pieces;
  for (const AdamVariable& variable : variables) {
    if (variable.sparse) {
      CutSparse(cpu, variable, &pieces);
    } else {
      CutDense(variable, &pieces);
    }
  }
  const int64_t count = pieces.size();
  std::vector<Measure> measures(count);
  const auto for_each_piece = [&](auto&& body) {
    cpu.threads->ParallelFor(count, 4 * kPieceSize, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(i);
    });
  };
  // Adds up pieces in their order, of each variable and of all.
  std::vector<Measure> of_variable(variables.size());
  Measure total;
  const auto add_up = [&] {
    for (int64_t i = 0; i < count; ++i)
      of_variable[pieces[i].variable - variables.data()] += measures[i];
    for (const Measure& measure : of_variable) total += measure;
    *finite = total.finite;
    *norm = static_cast<float>(std::sqrt(total.squares));
  };

  const bool clips = !std::isinf(options.clip_norm);
  if (!clips && !options.skip_nonfinite) {
    // One pass: a piece's gradient is still in the cache when it is used.
    for_each_piece([&](int64_t i) {
      measures[i] = MeasurePiece(options, pieces[i]);
      UpdatePiece(options, 1.0f, pieces[i]);
    });
    add_up();
    return;
  }
  for_each_piece([&](int64_t i) { measures[i] = MeasurePiece(options, pieces[i]); });
  add_up();
  if (options.skip_nonfinite && !total.finite) return;
  std::vector<float> factors(variables.size(), 1.0f);
  for (size_t i = 0; clips && i < variables.size(); ++i) {
    if (options.clip_each) {
      factors[i] = ClipFactor(options, std::sqrt(of_variable[i].squares));
    } else {
      factors[i] = std::isfinite(total.squares) ? ClipFactor(options, std::sqrt(total.squares))
                                                : std::numeric_limits<float>::quiet_NaN();
    }
  }
  for_each_piece([&](int64_t i) {
    UpdatePiece(options, factors[pieces[i].variable - variables.data()], pieces[i]);
  });
}

}  // namespace tf_ls
