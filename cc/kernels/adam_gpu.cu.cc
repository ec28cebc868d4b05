#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/kernels/activation_functions.h"
#include "cc/kernels/adam.h"
#include "cc/kernels/gpu_primitives.cu.h"
#include "cc/kernels/group_rows.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 256;
constexpr int kPack = 4;
// Numbers that a block takes, of one variable or gradient. (A quarter, a half or twice as many,
// more blocks at a time with fewer registers each, and accesses that bypass the caches were
// measured: none is faster on an H100 by more than 2 %, most are slower. This moves 2.8 TB/s.)
constexpr int64_t kPiece = kThreads * kPack * 4;

// A variable as kernels see it, in a table with one more entry at its end, where the next would
// begin.
struct Variable {
  float* variable;
  float* m;
  float* v;
  const float* gradient;
  int64_t size;
  float decay;                   // the part of the variable that is taken away before
  int32_t sparse;                // number of its sparse gradient, -1 if it has a dense one
  int32_t first_piece;           // among the pieces of all variables
  int32_t first_gradient_piece;  // among those of all gradients
};

// Likewise, a sparse gradient.
struct SparseGradient {
  const int64_t* indices;
  int64_t row_size;
  int32_t first_row;    // among the rows of all sparse gradients
  int32_t first_group;  // among the rows of their variables
};

struct Tables {
  const Variable* variables;
  int variable_count;
  const SparseGradient* sparse;
  int sparse_count;
  RowGroups groups;  // the sparse gradients' rows by the variables' rows that they belong to
};

// What comes in front of `item` in a table of `count` entries: the last whose `first` is not above.
template <typename Entry>
__device__ int Find(const Entry* table, int count, int32_t Entry::*first, int32_t item) {
  int begin = 0;
  int end = count;
  while (end - begin > 1) {
    const int middle = (begin + end) / 2;
    if (table[middle].*first <= item) {
      begin = middle;
    } else {
      end = middle;
    }
  }
  return begin;
}

// Entries of a table that go with a launch.
template <typename Entry>
struct Batch {
  static constexpr int kMost = 4000 / sizeof(Entry);  // a kernel's arguments are 4096 bytes
  Entry entries[kMost];
};

template <typename Entry>
__global__ void __launch_bounds__(kThreads)
    CopyBatch(const __grid_constant__ Batch<Entry> batch, int count, Entry* to) {
  static_assert(Batch<Entry>::kMost <= kThreads, "a thread for each");
  if (threadIdx.x < count) to[threadIdx.x] = batch.entries[threadIdx.x];
}

// Copies a table to the GPU as arguments of kernels, so that nobody waits and nothing of the
// host's memory has to last.
template <typename Entry>
const Entry* Upload(const Gpu& gpu, const std::vector<Entry>& table) {
  Entry* const copy = gpu.arena->Allocate<Entry>(table.size());
  for (size_t first = 0; first < table.size(); first += Batch<Entry>::kMost) {
    const size_t count = std::min<size_t>(Batch<Entry>::kMost, table.size() - first);
    Batch<Entry> batch = {};
    std::copy_n(table.begin() + first, count, batch.entries);
    CopyBatch<<<1, kThreads, 0, gpu.stream>>>(batch, static_cast<int>(count), copy + first);
    gpu::CheckLaunch();
  }
  return copy;
}

// The group of every row of the sparse gradients: the row of a variable that it belongs to.
__global__ void __launch_bounds__(kThreads)
    FindGroups(const SparseGradient* table, int count, int32_t* groups, int64_t* bad_row) {
  const int64_t row = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (row >= table[count].first_row) return;
  const SparseGradient* const gradient =
      table + Find(table, count, &SparseGradient::first_row, static_cast<int32_t>(row));
  const int64_t index = gradient->indices[row - gradient->first_row];
  if (index >= 0 && index < gradient[1].first_group - gradient->first_group) {
    groups[row] = static_cast<int32_t>(gradient->first_group + index);
  } else {
    groups[row] = table[count].first_group;  // no group
    // -1, which is there before, is larger than all others as an unsigned number.
    atomicMin(reinterpret_cast<unsigned long long*>(bad_row), static_cast<unsigned long long>(row));
  }
}

// What is known of a gradient, or of a piece of it. In double, no square of a float32 overflows.
struct Measure {
  double squares = 0.0;
  int32_t finite = 1;

  __device__ void operator+=(const Measure& other) {
    squares += other.squares;
    finite = finite && other.finite;
  }
};

// The sum over a block, which all its threads get. Once a kernel.
__device__ Measure BlockSum(Measure mine) {
  __shared__ double sums[kThreads / gpu::kWarp];
#pragma unroll
  for (int offset = gpu::kWarp / 2; offset > 0; offset /= 2) {
    mine.squares += __shfl_xor_sync(gpu::kAllLanes, mine.squares, offset);
  }
  if (threadIdx.x % gpu::kWarp == 0) sums[threadIdx.x / gpu::kWarp] = mine.squares;
  Measure total;
  total.finite = __syncthreads_and(mine.finite);
#pragma unroll
  for (const double sum : sums) total.squares += sum;
  return total;
}

// Reads gradients, multiplied and clipped by value, and measures them if told to.
template <bool measures>
struct GradientReader {
  const float factor;
  const float bound;
  Measure measure;

  template <int pack>
  __device__ void Read(const float* from, float* gradient) {
    gpu::LoadPack<pack>(from, gradient);
#pragma unroll
    for (int i = 0; i < pack; ++i) {
      const float scaled = gradient[i] * factor;
      gradient[i] = Clamp(scaled, bound);
      if constexpr (measures) {
        measure.finite = measure.finite && isfinite(scaled);
        const double wide = gradient[i];
        measure.squares += wide * wide;
      }
    }
  }
};

__device__ bool CanPack(const Variable& variable, int64_t row_size) {
  const auto address = [](const float* p) { return reinterpret_cast<uintptr_t>(p); };
  const uintptr_t bits = address(variable.variable) | address(variable.m) | address(variable.v) |
                         address(variable.gradient) | (row_size * sizeof(float));
  return bits % (kPack * sizeof(float)) == 0;
}

// Calls body(count as a type, first number) for the numbers from `begin` to `end`, which a block
// shares: packs of them, or one by one.
template <typename Body>
__device__ void ForNumbers(int64_t begin, int64_t end, bool packed, const Body& body) {
  const int64_t middle = packed ? end - (end - begin) % kPack : begin;
  for (int64_t i = begin + threadIdx.x * kPack; i < middle; i += kThreads * kPack) {
    body(std::integral_constant<int, kPack>(), i);
  }
  for (int64_t i = middle + threadIdx.x; i < end; i += kThreads) {
    body(std::integral_constant<int, 1>(), i);
  }
}

struct GradientOptions {
  float factor;
  float clip_value;
};

// Measures every piece of all gradients, without the rows of sparse ones that belong nowhere.
// Reads 4 bytes a number.
__global__ void __launch_bounds__(kThreads)
    MeasureGradients(const Tables tables, const GradientOptions options, Measure* measures) {
  const Variable& variable =
      tables.variables[Find(tables.variables, tables.variable_count,
                            &Variable::first_gradient_piece, static_cast<int32_t>(blockIdx.x))];
  GradientReader<true> reader{options.factor, options.clip_value, {}};
  const int64_t begin = (blockIdx.x - int64_t{variable.first_gradient_piece}) * kPiece;
  if (variable.sparse < 0) {
    ForNumbers(begin, min(variable.size, begin + kPiece), CanPack(variable, 0),
               [&](auto count, int64_t i) {
                 constexpr int kCount = decltype(count)::value;
                 float gradient[kCount];
                 reader.Read<kCount>(variable.gradient + i, gradient);
               });
  } else {
    const SparseGradient& sparse = tables.sparse[variable.sparse];
    const int64_t rows = (&sparse)[1].first_row - sparse.first_row;
    const int64_t groups = (&sparse)[1].first_group - sparse.first_group;
    ForNumbers(begin, min(rows * sparse.row_size, begin + kPiece),
               CanPack(variable, sparse.row_size), [&](auto count, int64_t i) {
                 const int64_t index = sparse.indices[i / sparse.row_size];
                 if (index < 0 || index >= groups) return;
                 constexpr int kCount = decltype(count)::value;
                 float gradient[kCount];
                 reader.Read<kCount>(variable.gradient + i, gradient);
               });
  }
  const Measure measure = BlockSum(reader.measure);
  if (threadIdx.x == 0) measures[blockIdx.x] = measure;
}

// Adds up the pieces of each variable or of its gradient, in a block of its own.
__global__ void __launch_bounds__(kThreads)
    AddUpPieces(const Variable* variables, bool of_gradients, const Measure* pieces,
                Measure* of_variables) {
  const auto first = [&](unsigned variable) {
    return of_gradients ? variables[variable].first_gradient_piece
                        : variables[variable].first_piece;
  };
  Measure sum;
  const int end = first(blockIdx.x + 1);
  for (int i = first(blockIdx.x) + threadIdx.x; i < end; i += kThreads) sum += pieces[i];
  sum = BlockSum(sum);
  if (threadIdx.x == 0) of_variables[blockIdx.x] = sum;
}

// How gradients are clipped by their norms.
struct NormOptions {
  double clip_norm;
  bool clip_each;
};

// What brings a gradient of that norm to the norm that is allowed.
__device__ float ClipFactor(double clip_norm, double norm) {
  return norm > clip_norm ? static_cast<float>(clip_norm / norm) : 1.0f;
}

// Adds up the variables, in one block, and says what each gradient is multiplied by, unless
// `factors` is null.
__global__ void __launch_bounds__(kThreads)
    AddUpVariables(const Measure* of_variables, int count, const NormOptions options,
                   float* factors, bool* finite, float* norm) {
  Measure sum;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += of_variables[i];
  const Measure total = BlockSum(sum);
  if (threadIdx.x == 0) {
    *finite = total.finite;
    *norm = static_cast<float>(sqrt(total.squares));
  }
  if (factors == nullptr) return;
  const float of_all = isfinite(total.squares) ? ClipFactor(options.clip_norm, sqrt(total.squares))
                                               : __int_as_float(0x7fffffff);  // NaN
  for (int i = threadIdx.x; i < count; i += kThreads) {
    factors[i] =
        options.clip_each ? ClipFactor(options.clip_norm, sqrt(of_variables[i].squares)) : of_all;
  }
}

struct Coefficients {
  float one_minus_beta1;
  float one_minus_beta2;
  float rate;
  float epsilon;
};

// Reads and writes x, m and v. Every rounding is spelled out: the result is the same in whatever
// kernel this becomes a part of.
__device__ void Step(const Coefficients& c, float gradient, float decay, float* x, float* m,
                     float* v) {
  *m = fmaf(gradient - *m, c.one_minus_beta1, *m);
  *v = fmaf(fmaf(gradient, gradient, -*v), c.one_minus_beta2, *v);
  *x = fmaf(-*x, decay, *x) - *m * c.rate / (sqrtf(*v) + c.epsilon);
}

// Conditions for an update, all in the GPU's memory. Those that are null are met.
struct Conditions {
  const bool* finite;
  const int64_t* bad_row;

  __device__ bool AreMet() const {
    return (finite == nullptr || *finite) && (bad_row == nullptr || *bad_row < 0);
  }
};

// Updates every piece of all variables. `factors`: what each gradient is multiplied by, null for 1.
// Also measures gradients, if told to. Reads 16 bytes and writes 12 a number.
template <bool measures>
__global__ void __launch_bounds__(kThreads)
    Update(const Tables tables, const GradientOptions options, const Coefficients coefficients,
           const float* factors, const Conditions conditions, Measure* pieces) {
  const bool go = conditions.AreMet();
  if (!measures && !go) return;
  const int number = Find(tables.variables, tables.variable_count, &Variable::first_piece,
                          static_cast<int32_t>(blockIdx.x));
  const Variable variable = tables.variables[number];
  const float factor = factors == nullptr ? 1.0f : factors[number];
  GradientReader<measures> reader{options.factor, options.clip_value, {}};

  const int64_t begin = (blockIdx.x - int64_t{variable.first_piece}) * kPiece;
  const int64_t end = min(variable.size, begin + kPiece);
  // read(count, i, gradient) makes `count` numbers of the gradient from i.
  const auto update = [&](bool packed, const auto& read) {
    ForNumbers(begin, end, packed, [&](auto count, int64_t i) {
      constexpr int kCount = decltype(count)::value;
      float x[kCount], m[kCount], v[kCount], gradient[kCount];
      gpu::LoadPack<kCount>(variable.variable + i, x);
      gpu::LoadPack<kCount>(variable.m + i, m);
      gpu::LoadPack<kCount>(variable.v + i, v);
      read(count, i, gradient);
      if (!go) return;
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        Step(coefficients, __fmul_rn(gradient[k], factor), variable.decay, &x[k], &m[k], &v[k]);
      }
      gpu::StorePack<kCount>(x, variable.variable + i);
      gpu::StorePack<kCount>(m, variable.m + i);
      gpu::StorePack<kCount>(v, variable.v + i);
    });
  };
  if (variable.sparse < 0) {
    update(CanPack(variable, 0), [&](auto count, int64_t i, float* gradient) {
      reader.template Read<decltype(count)::value>(variable.gradient + i, gradient);
    });
  } else {
    const SparseGradient sparse = tables.sparse[variable.sparse];
    const int32_t* const starts = tables.groups.starts + sparse.first_group;
    const int32_t* const order = tables.groups.order;
    update(CanPack(variable, sparse.row_size), [&](auto count, int64_t i, float* gradient) {
      constexpr int kCount = decltype(count)::value;
      const int64_t group = i / sparse.row_size;
      const int64_t column = i - group * sparse.row_size;
      const int32_t last = starts[group + 1];
#pragma unroll
      for (int k = 0; k < kCount; ++k) gradient[k] = 0.0f;
#pragma unroll 4
      for (int32_t j = starts[group]; j < last; ++j) {
        const int64_t row = order[j] - sparse.first_row;
        float part[kCount];
        reader.template Read<kCount>(variable.gradient + row * sparse.row_size + column, part);
#pragma unroll
        for (int k = 0; k < kCount; ++k) gradient[k] += part[k];
      }
    });
  }
  if constexpr (measures) {
    const Measure measure = BlockSum(reader.measure);
    if (threadIdx.x == 0) pieces[blockIdx.x] = measure;
  }
}

int32_t Int32(int64_t count, const char* what) {
  if (count >= INT32_MAX) {
    throw std::invalid_argument("on the GPU there can be " + std::to_string(INT32_MAX - 1) + " " +
                                what + " at most, got " + std::to_string(count));
  }
  return static_cast<int32_t>(count);
}

// Tables of all variables and of those with sparse gradients, on the host.
struct HostTables {
  std::vector<Variable> variables;
  std::vector<SparseGradient> sparse;

  HostTables(const AdamOptions& options, const std::vector<AdamVariable>& all) {
    int64_t pieces = 0, gradient_pieces = 0, rows = 0, groups = 0;
    const auto add_variable = [&](const AdamVariable& v, int64_t gradient_size) {
      variables.push_back({v.variable, v.m, v.v, v.gradient, v.size,
                           static_cast<float>(options.learning_rate * v.weight_decay),
                           v.sparse ? static_cast<int32_t>(sparse.size()) : -1,
                           Int32(pieces, "pieces of variables"),
                           Int32(gradient_pieces, "pieces of gradients")});
      pieces += (v.size + kPiece - 1) / kPiece;
      gradient_pieces += (gradient_size + kPiece - 1) / kPiece;
    };
    const auto add_sparse = [&](const AdamVariable& v) {
      sparse.push_back({v.indices, v.row_size, Int32(rows, "rows of sparse gradients"),
                        Int32(groups, "rows of variables with sparse gradients")});
      // Rows of nothing are not counted in the variable, and no index can lead astray.
      if (v.row_size == 0) return;
      rows += v.row_count;
      groups += v.size / v.row_size;
    };
    for (const AdamVariable& variable : all) {
      if (variable.sparse) {
        add_variable(variable, variable.row_count * variable.row_size);
        add_sparse(variable);
      } else {
        add_variable(variable, variable.size);
      }
    }
    // The ends.
    add_variable({}, 0);
    if (!sparse.empty()) add_sparse({});
  }

  unsigned pieces() const { return variables.back().first_piece; }
  unsigned gradient_pieces() const { return variables.back().first_gradient_piece; }
};

}  // namespace

void Adam(const Gpu& gpu, const AdamOptions& options, const std::vector<AdamVariable>& variables,
          bool* finite, float* norm, int64_t* bad_row) {
  const HostTables host(options, variables);
  const int count = static_cast<int>(variables.size());
  const int sparse_count = std::max<int>(1, host.sparse.size()) - 1;
  if (sparse_count > 0 && bad_row == nullptr) {
    throw std::invalid_argument("bad_row must not be null where a gradient is sparse");
  }
  const ArenaScope scope(gpu.arena);
  Tables tables = {Upload(gpu, host.variables), count, nullptr, sparse_count, {}};
  if (bad_row != nullptr) gpu::Check(cudaMemsetAsync(bad_row, 0xff, sizeof(*bad_row), gpu.stream));
  if (sparse_count > 0) {
    tables.sparse = Upload(gpu, host.sparse);
    const SparseGradient& end = host.sparse.back();
    int32_t* const groups = gpu.arena->Allocate<int32_t>(end.first_row);
    if (end.first_row > 0) {
      FindGroups<<<gpu::Blocks(end.first_row, kThreads), kThreads, 0, gpu.stream>>>(
          tables.sparse, sparse_count, groups, bad_row);
      gpu::CheckLaunch();
    }
    tables.groups = GroupRows(gpu, groups, end.first_row, end.first_group);
  }

  const GradientOptions gradient_options = {static_cast<float>(options.gradient_factor),
                                            static_cast<float>(options.clip_value)};
  const double rate =
      options.learning_rate * std::sqrt(1.0 - options.beta2_power) / (1.0 - options.beta1_power);
  const Coefficients coefficients = {static_cast<float>(1.0 - options.beta1),
                                     static_cast<float>(1.0 - options.beta2),
                                     static_cast<float>(rate), static_cast<float>(options.epsilon)};
  const bool clips = !std::isinf(options.clip_norm);
  const bool beforehand = clips || options.skip_nonfinite;
  Measure* const of_variables = gpu.arena->Allocate<Measure>(count);
  Measure* const of_pieces =
      gpu.arena->Allocate<Measure>(beforehand ? host.gradient_pieces() : host.pieces());
  float* const factors = clips ? gpu.arena->Allocate<float>(count) : nullptr;

  const auto add_up = [&] {
    if (count > 0) {
      AddUpPieces<<<count, kThreads, 0, gpu.stream>>>(tables.variables, beforehand, of_pieces,
                                                      of_variables);
      gpu::CheckLaunch();
    }
    AddUpVariables<<<1, kThreads, 0, gpu.stream>>>(
        of_variables, count, NormOptions{options.clip_norm, options.clip_each}, factors, finite,
        norm);
    gpu::CheckLaunch();
  };
  const Conditions conditions = {options.skip_nonfinite ? finite : nullptr,
                                 sparse_count > 0 ? bad_row : nullptr};
  if (beforehand) {
    if (host.gradient_pieces() > 0) {
      MeasureGradients<<<host.gradient_pieces(), kThreads, 0, gpu.stream>>>(
          tables, gradient_options, of_pieces);
      gpu::CheckLaunch();
    }
    add_up();
  }
  if (host.pieces() > 0) {
    const auto update = beforehand ? Update<false> : Update<true>;
    update<<<host.pieces(), kThreads, 0, gpu.stream>>>(tables, gradient_options, coefficients,
                                                       factors, conditions, of_pieces);
    gpu::CheckLaunch();
  }
  if (!beforehand) add_up();
}

}  // namespace tf_ls
