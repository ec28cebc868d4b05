#ifndef TF_LS_CC_CORE_WEIGHT_CASTS_H_
#define TF_LS_CC_CORE_WEIGHT_CASTS_H_

#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"

namespace tf_ls {

// A matrix in int8: each number times the scale of its output. (A table of words is one whose
// outputs are the words.)
struct Int8Numbers {
  const int8_t* data;
  const float* scales;  // [outputs]
};

// Numbers of any of the types that weights have.
using AnyNumbers = std::variant<const float*, const float16*, const bfloat16*, Int8Numbers>;

inline const float* Address(const void* data) { return static_cast<const float*>(data); }
inline const float* Address(const Int8Numbers& numbers) { return Address(numbers.data); }

// A weight of a layer, stored [rows, columns]; a vector is one row.
struct WeightPiece {
  AnyNumbers numbers;
  int64_t rows;
  int64_t columns;
  // Whether products map `columns` numbers to `rows` numbers, instead of the other way round.
  bool transposed = false;

  int64_t count() const { return rows * columns; }
  bool IsMatrix() const { return rows > 1 && columns > 0; }

  // What layers and kernels know the weight by. They read float32 there; weights of another type
  // have no more than their address, by which products find what was prepared of them.
  const float* name() const {
    return std::visit([](const auto& data) { return Address(data); }, numbers);
  }
  bool IsInt8() const { return std::holds_alternative<Int8Numbers>(numbers); }
};

// Copies of weights in the type that a layer computes in, found by the weight's name. A layer has
// some twenty of them.
class WeightCasts {
 public:
  void Add(const float* weight, const void* copy) { copies_.emplace_back(weight, copy); }

  // Null if there is none.
  const void* Find(const float* weight) const {
    for (const auto& entry : copies_) {
      if (entry.first == weight) return entry.second;
    }
    return nullptr;
  }

 private:
  std::vector<std::pair<const float*, const void*>> copies_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_WEIGHT_CASTS_H_
