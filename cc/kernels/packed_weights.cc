#include "cc/kernels/packed_weights.h"

#include <cstring>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/kernels/gemm_panels.h"
#include "cc/kernels/matrix_pieces.h"
#include "cc/kernels/panel_product.h"
#include "cc/kernels/row_access.h"

namespace tf_ls {
namespace {

using onednn::Product;
using onednn::ProductCycles;
using onednn::ProductShape;
using DataType = dnnl::memory::data_type;

// oneDNN lays out columns by 64 at most.
constexpr int64_t kColumnUnit = 64;
// Numbers of a slice: as few as are worth a task of their own.
constexpr int64_t kSliceNumbers = 1 << 16;
// Bytes of a weight that a core reads in a cycle: 6 from memory, 27 from its caches.
constexpr int64_t kBytesPerCycle = 8;

int64_t SliceColumns(int64_t inputs) {
  const int64_t columns = kSliceNumbers / std::max<int64_t>(1, inputs) / kColumnUnit * kColumnUnit;
  return std::clamp(columns, kColumnUnit, PackedWeight::kMostColumns);
}

// As any product with the weight is, but for rows and results.
ProductShape SliceShape(int64_t rows, int64_t inputs, int64_t columns, DataType type) {
  ProductShape shape = {rows, inputs, columns, inputs, 1, 0, 0, columns, type, type, false, false};
  shape.any_rows = true;
  return shape;
}

// Calls write(dense) with room for rows of `bytes` one behind the other, since oneDNN's kernels for
// packed weights write nothing else (it takes others, and a hundred times as long): y itself, or a
// buffer that is copied to y. With `read` the room holds what y holds.
template <typename Write>
void RunDense(int64_t rows, int64_t bytes, int64_t y_stride, bool read, unsigned char* y,
              const Write& write) {
  if (rows == 1 || bytes == y_stride) return write(y);
  unsigned char* const dense = reinterpret_cast<unsigned char*>(
      ThreadBuffer<30>(rows * bytes / static_cast<int64_t>(sizeof(float)) + 1));
  for (int64_t i = 0; i < rows && read; ++i)
    std::memcpy(dense + i * bytes, y + i * y_stride, bytes);
  write(dense);
  for (int64_t i = 0; i < rows; ++i) std::memcpy(y + i * y_stride, dense + i * bytes, bytes);
}

void CopyRow(const float* from, int64_t n, float* to) { std::copy(from, from + n, to); }
void CopyRow(const float* from, int64_t n, bfloat16* to) { row::Store(from, n, to); }

// Rows of n numbers as float32, `stride` apart, zeros behind them.
const float* WithEvenRows(const void* x, DataType type, int64_t rows, int64_t n, int64_t stride) {
  if (type == DataType::f32 && stride == n) return static_cast<const float*>(x);
  float* const wide = ThreadBuffer<31>(rows * stride);
  for (int64_t i = 0; i < rows; ++i) {
    float* const to = wide + i * stride;
    if (type == DataType::f32) {
      CopyRow(static_cast<const float*>(x) + i * n, n, to);
    } else {
      row::Load(static_cast<const bfloat16*>(x) + i * n, n, to);
    }
    std::fill(to + n, to + stride, 0.0f);
  }
  return wide;
}

// Up to how many rows PanelProduct is the faster: in float32 it does as many sums in a cycle as
// oneDNN, which loses time around each product; in bfloat16 half as many.
int64_t MostFewRows(DataType type) { return type == DataType::f32 ? 32 : kMostPanelRows; }

int64_t AlignTo(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

template <typename T>
PackedWeight Make(const Weight& weight, void* memory) {
  return {weight, ProductType<T>(), memory};
}

}  // namespace

PackedWeight::PackedWeight(const Weight& weight, DataType type, void* memory)
    : weight_(weight),
      type_(type),
      columns_(SliceColumns(weight.inputs)),
      memory_(static_cast<unsigned char*>(memory)) {
  const Layout of_first = LayoutOf(weight.inputs, Columns(0), type);
  const Layout of_last = LayoutOf(weight.inputs, Columns(slices() - 1), type);
  layout_ = of_first == of_last ? of_first : Layout::kOneDnn;
  const auto bytes = [&](int64_t slice) {
    if (layout_ == Layout::kGemmPanels) {
      return PanelNumbers(weight.inputs, Columns(slice)) * sizeof(float);
    }
    return Product::AnyRowsLayout(SliceShape(1, weight.inputs, Columns(slice), type)).get_size();
  };
  slice_bytes_ = AlignUp(std::max(bytes(0), bytes(slices() - 1)));
}

PackedWeight::Layout PackedWeight::LayoutOf(int64_t inputs, int64_t columns, DataType type) {
  if (type == DataType::f32 && !onednn::LaysOutWeights()) return Layout::kGemmPanels;
  using Tag = dnnl::memory::format_tag;
  const auto tag = type == DataType::f32 ? Tag::BA16a64b : Tag::BA16a64b2a;
  return Product::AnyRowsLayout(SliceShape(1, inputs, columns, type)) ==
                 dnnl::memory::desc({inputs, columns}, type, tag)
             ? Layout::kOneDnnPanels
             : Layout::kOneDnn;
}

void PackedWeight::Pack(const Cpu& cpu, const AnyNumbers& numbers) const {
  const int64_t cost = columns_ * weight_.inputs * sizeof(float) / kBytesPerCycle;
  const auto pack = [&](const auto& from) {
    if constexpr (std::is_pointer<std::decay_t<decltype(from)>>::value) {
      cpu.threads->ParallelFor(slices(), cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) PackSlice(i, from);
      });
    } else {
      throw std::logic_error("weights in int8 are packed by PackInt8");
    }
  };
  std::visit(pack, numbers);
}

// oneDNN reads float32 and the product's own type; what is neither is widened, a slice at a time.
template <typename From>
void PackedWeight::PackSlice(int64_t slice, const From* numbers) const {
  constexpr bool kIsFloat = std::is_same<From, float>::value;
  const int64_t stride = weight_.transposed ? weight_.inputs : weight_.outputs;
  const From* const first = numbers + slice * columns_ * (weight_.transposed ? stride : 1);
  const auto pack = [&](const void* from, DataType from_type, int64_t from_stride) {
    const int64_t row_stride = weight_.transposed ? 1 : from_stride;
    const int64_t column_stride = weight_.transposed ? from_stride : 1;
    if (layout_ == Layout::kGemmPanels) {
      return PackPanels(static_cast<const float*>(from), weight_.inputs, Columns(slice), row_stride,
                        column_stride, reinterpret_cast<float*>(Slice(slice)));
    }
    Product::Get(SliceShape(1, weight_.inputs, Columns(slice), type_))
        ->Pack(from, from_type, row_stride, column_stride, Slice(slice));
  };
  if (kIsFloat) return pack(first, DataType::f32, stride);
  if (std::is_same<From, bfloat16>::value && type_ == DataType::bf16) {
    return pack(first, DataType::bf16, stride);
  }
  if constexpr (!kIsFloat) {
    const int64_t lines = weight_.transposed ? Columns(slice) : weight_.inputs;
    const int64_t n = weight_.transposed ? weight_.inputs : Columns(slice);
    std::vector<float> wide(lines * n);
    for (int64_t i = 0; i < lines; ++i) row::Load(first + i * stride, n, wide.data() + i * n);
    pack(wide.data(), DataType::f32, n);
  }
}

void PackedWeight::Multiply(const Cpu& cpu, const void* x, int64_t rows, int64_t first,
                            int64_t count, const float* bias, bool accumulate, DataType y_type,
                            int64_t y_stride, void* y) const {
  if (rows == 0 || count == 0) return;
  const int64_t first_slice = first / columns_;
  const int64_t tasks = (count + columns_ - 1) / columns_;
  if (first % columns_ != 0 || (count % columns_ != 0 && first + count != weight_.outputs)) {
    throw std::logic_error("outputs of a packed weight come in whole slices");
  }
  if (layout_ == Layout::kGemmPanels) {
    if (y_type != DataType::f32) throw std::logic_error("panels of float32 give float32");
    return MultiplyGemmPanels(cpu, static_cast<const float*>(x), rows, first_slice, tasks, bias,
                              accumulate, y_stride, static_cast<float*>(y));
  }
  const auto get = [&](int64_t block_rows, int64_t slice) {
    ProductShape shape = SliceShape(block_rows, weight_.inputs, Columns(slice), type_);
    shape.c_type = y_type;
    shape.bias = bias != nullptr;
    shape.accumulate = accumulate;
    return Product::Get(shape);
  };
  if (layout_ == Layout::kOneDnnPanels && rows <= MostFewRows(type_)) {
    const int64_t x_stride = (weight_.inputs + 1) / 2 * 2;
    const float* const wide = WithEvenRows(x, type_, rows, weight_.inputs, x_stride);
    const int64_t size = dnnl::memory::data_type_size(y_type);
    const int64_t panels = (count + kPanelColumns - 1) / kPanelColumns;
    const int64_t cost = SliceCycles(rows) * kPanelColumns / columns_;
    return cpu.threads->ParallelFor(panels, cost, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        MultiplyFewRows(wide, x_stride, rows, first / kPanelColumns + i, bias, accumulate, y_type,
                        y_stride, static_cast<unsigned char*>(y) + i * kPanelColumns * size);
      }
    });
  }
  const size_t x_size = dnnl::memory::data_type_size(type_);
  const size_t y_size = dnnl::memory::data_type_size(y_type);
  // What is only one slice wide is shared by rows.
  const int64_t most_rows = tasks > 1 ? kMostRows : kMostRows / 2;
  const int64_t blocks = (rows + most_rows - 1) / most_rows;
  const auto rows_of = [&](int64_t block) { return std::min(most_rows, rows - block * most_rows); };
  // The products of a block of rows with a slice, and with the last one.
  using Products = std::pair<std::shared_ptr<const Product>, std::shared_ptr<const Product>>;
  const auto products_of = [&](int64_t block) -> Products {
    return {get(rows_of(block), first_slice), get(rows_of(block), first_slice + tasks - 1)};
  };
  const Products of_last = products_of(blocks - 1);
  const Products of_others = blocks > 1 ? products_of(0) : of_last;
  const auto run = [&](int64_t block, int64_t task) {
    const Products& products = block == blocks - 1 ? of_last : of_others;
    const Product& product = task == tasks - 1 ? *products.second : *products.first;
    const int64_t slice = first_slice + task, first_row = block * most_rows;
    RunDense(rows_of(block), Columns(slice) * y_size, y_stride * y_size, accumulate,
             static_cast<unsigned char*>(y) + (first_row * y_stride + task * columns_) * y_size,
             [&](void* dense) {
               product.Run(
                   static_cast<const unsigned char*>(x) + first_row * weight_.inputs * x_size,
                   Slice(slice), bias == nullptr ? nullptr : bias + slice * columns_, dense);
             });
  };
  cpu.threads->ParallelFor(blocks * tasks, SliceCycles(rows_of(0)),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t i = begin; i < end; ++i) run(i / tasks, i % tasks);
                           });
}

int64_t PackedWeight::SliceCycles(int64_t rows) const {
  return ProductCycles(rows, weight_.inputs, columns_) + slice_bytes_ / kBytesPerCycle;
}

void PackedWeight::MultiplyGemmPanels(const Cpu& cpu, const float* x, int64_t rows,
                                      int64_t first_slice, int64_t slices, const float* bias,
                                      bool accumulate, int64_t y_stride, float* y) const {
  const int64_t blocks = (rows + kPanelRows - 1) / kPanelRows;
  const auto rows_of = [&](int64_t block) {
    return std::min(kPanelRows, rows - block * kPanelRows);
  };
  cpu.threads->ParallelFor(
      blocks * slices, SliceCycles(rows_of(0)), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t row = i / slices * kPanelRows, column = i % slices * columns_;
          const int64_t slice = first_slice + i % slices;
          MultiplyPanels(rows_of(i / slices), Columns(slice), weight_.inputs,
                         x + row * weight_.inputs, weight_.inputs, 1,
                         reinterpret_cast<const float*>(Slice(slice)),
                         bias == nullptr ? nullptr : bias + slice * columns_,
                         y + row * y_stride + column, y_stride, accumulate);
        }
      });
}

void PackedWeight::MultiplyFewRows(const float* x, int64_t x_stride, int64_t rows, int64_t panel,
                                   const float* bias, bool accumulate, DataType y_type,
                                   int64_t y_stride, unsigned char* y) const {
  const int64_t size = dnnl::memory::data_type_size(type_);
  const int64_t panel_bytes = AlignTo(weight_.inputs, 64 / size) * kPanelColumns * size;
  const int64_t column = panel * kPanelColumns, of_slice = columns_ / kPanelColumns;
  const unsigned char* const weights = Slice(panel / of_slice) + panel % of_slice * panel_bytes;
  const int64_t n = std::min(kPanelColumns, weight_.outputs - column);
  const auto write = [&](float* sum, auto* to) {
    float before[kPanelColumns];
    if (accumulate) row::Add(sum, ReadRow(to, n, before), n, sum);
    CopyRow(sum, n, to);
  };
  for (int64_t first = 0; first < rows; first += kMostPanelRows) {
    const int64_t count = std::min(kMostPanelRows, rows - first);
    const float* const from = x + first * x_stride;
    float sums[kMostPanelRows * kPanelColumns];
    if (type_ == DataType::f32) {
      PanelProduct(from, x_stride, count, weight_.inputs, reinterpret_cast<const float*>(weights),
                   sums);
    } else {
      PanelProduct(from, x_stride, count, weight_.inputs,
                   reinterpret_cast<const bfloat16*>(weights), sums);
    }
    for (int64_t i = 0; i < count; ++i) {
      float* const sum = sums + i * kPanelColumns;
      if (bias != nullptr) row::Add(sum, bias + column, n, sum);
      const int64_t start = (first + i) * y_stride;
      if (y_type == DataType::f32) {
        write(sum, reinterpret_cast<float*>(y) + start);
      } else {
        write(sum, reinterpret_cast<bfloat16*>(y) + start);
      }
    }
  }
}

template <typename T>
size_t PlacePacked(const std::vector<WeightPiece>& weights, const void* memory,
                   PackedWeights* packed) {
  return ForEachMatrix(weights, const_cast<void*>(memory), Make<T>,
                       [&](size_t /*i*/, const Weight& /*weight*/, const PackedWeight& place) {
                         if (memory != nullptr) packed->Add(place);
                       });
}

template <typename T>
void PackWeights(const Cpu& cpu, const std::vector<WeightPiece>& weights, void* memory) {
  ForEachMatrix(weights, memory, Make<T>,
                [&](size_t i, const Weight& /*weight*/, const PackedWeight& place) {
                  place.Pack(cpu, weights[i].numbers);
                });
}

template size_t PlacePacked<float>(const std::vector<WeightPiece>&, const void*, PackedWeights*);
template size_t PlacePacked<bfloat16>(const std::vector<WeightPiece>&, const void*, PackedWeights*);
template void PackWeights<float>(const Cpu&, const std::vector<WeightPiece>&, void*);
template void PackWeights<bfloat16>(const Cpu&, const std::vector<WeightPiece>&, void*);

}  // namespace tf_ls
