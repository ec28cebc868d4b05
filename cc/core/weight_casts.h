#ifndef TF_LS_CC_CORE_WEIGHT_CASTS_H_
#define TF_LS_CC_CORE_WEIGHT_CASTS_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace tf_ls {

// A float32 weight of a layer, stored [rows, columns]; a vector is one row.
struct WeightPiece {
  const float* data;
  int64_t rows;
  int64_t columns;
  // Whether products map `columns` numbers to `rows` numbers, instead of the other way round.
  bool transposed = false;

  int64_t count() const { return rows * columns; }
};

// Copies of float32 weights in the type that a layer computes in, found by the weight's address. A
// layer has some twenty of them.
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
