#ifndef TF_LS_CC_KERNELS_ADAM_H_
#define TF_LS_CC_KERNELS_ADAM_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// What a step does to all variables alike. A gradient is first multiplied by gradient_factor, then
// held within [-clip_value, clip_value], then scaled down to clip_norm if its norm is larger.
// Infinity clips nothing.
struct AdamOptions {
  double learning_rate = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double beta1_power = 0.9;  // beta1 to the power of the step, which counts from 1
  double beta2_power = 0.999;
  double epsilon = 1e-7;
  double gradient_factor = 1.0;  // the inverse of a loss scale
  double clip_value = std::numeric_limits<double>::infinity();
  double clip_norm = std::numeric_limits<double>::infinity();
  bool clip_each = false;       // clip_norm bounds the norm of each gradient, not that of all
  bool skip_nonfinite = false;  // update nothing if a gradient has an infinity or a NaN
};

// A variable of `size` numbers, its moments, and its gradient: as many numbers or, if it
// is sparse, row_count rows of row_size. Row i belongs to row indices[i] of the variable, rows of
// the same index add up, and elsewhere the gradient is zero. Moments decay and variables move there
// too. Indices are in range; on the GPU, that is seen to there.
struct AdamVariable {
  float* variable;
  float* m;
  float* v;
  int64_t size;
  float weight_decay =
      0.0f;  // times the learning rate: the part of the variable that a step takes away
  const float* gradient;
  bool sparse = false;
  const int64_t* indices = nullptr;
  int64_t row_count = 0;
  int64_t row_size = 0;
};

// One step of Adam (Kingma and Ba, 2015; with weight_decay of AdamW, Loshchilov and Hutter, 2019)
// on all variables, in TensorFlow's arithmetic:
//
//   m += (g - m) * (1 - beta1), v += (g^2 - v) * (1 - beta2),
//   variable -= learning_rate * weight_decay * variable,
//   variable -= learning_rate * sqrt(1 - beta2_power) / (1 - beta1_power) * m / (sqrt(v) + epsilon)
//
// *finite: whether all gradients, times gradient_factor, were finite. *norm: the square root of the
// sum of the squares of all gradients, clipped by value but not yet by norm; rows of the same index
// count one by one, as in tf.linalg.global_norm. If that norm is not finite and is to be clipped,
// all gradients become NaN, as in tf.clip_by_global_norm.
//
// Cost: reads 4 and writes 3 numbers for each of a variable's, 28 bytes; 4 more where clip_norm or
// skip_nonfinite have gradients read beforehand. The result does not depend on the number of
// threads.
void Adam(const Cpu& cpu, const AdamOptions& options, const std::vector<AdamVariable>& variables,
          bool* finite, float* norm);
// On the GPU all that the variables point to is in its memory, and so are `finite`, `norm` and
// `bad_row`; nobody waits for them. *bad_row: the first row whose index is out of range, counting
// the rows of all sparse gradients one behind the other, or -1 if there is none. If there is one,
// nothing is updated, and *finite and *norm are those of the other rows. So with a sparse gradient
// one has to read *bad_row, later, to tell of the error; without any it may be null.
//
// Four launches, and one for every 70 variables; with sparse gradients, whose rows are sorted by
// index, some ten more.
void Adam(const Gpu& gpu, const AdamOptions& options, const std::vector<AdamVariable>& variables,
          bool* finite, float* norm, int64_t* bad_row);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ADAM_H_
