#ifndef TF_LS_CC_KERNELS_ROW_MATH_H_
#define TF_LS_CC_KERNELS_ROW_MATH_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"
#include "cc/core/philox.h"
#include "cc/kernels/activation_kind.h"
#include "cc/kernels/gumbel_noise.h"

// What the CPU kernels do to one row of float32 numbers, compiled for several generations of
// processors. All arithmetic between matrix products is float32, so that this is the only place
// that needs vector code.
namespace tf_ls {
namespace row {

void Load(const bfloat16* from, int64_t n, float* to);
void Load(const float16* from, int64_t n, float* to);
void Load(const int8_t* from, int64_t n, float* to);
void Store(const float* from, int64_t n, bfloat16* to);

// y = a + b
void Add(const float* a, const float* b, int64_t n, float* y);
// y = a * b
void Multiply(const float* a, const float* b, int64_t n, float* y);
// y = a * factor
void Scale(const float* a, float factor, int64_t n, float* y);
// y = a * factor + b
void ScaleAdd(const float* a, float factor, const float* b, int64_t n, float* y);
// y = a + b * c
void MultiplyAdd(const float* a, const float* b, const float* c, int64_t n, float* y);

// products[i] = sum_j x[j] * rows[i][j] for `count` rows of n numbers, wherever they lie.
void Products(const float* x, const float* const* rows, int64_t count, int64_t n, float* products);
void Products(const float* x, const bfloat16* const* rows, int64_t count, int64_t n,
              float* products);
// y = sum_i weights[i] * rows[i]
void WeightedSum(const float* weights, const float* const* rows, int64_t count, int64_t n,
                 float* y);
void WeightedSum(const float* weights, const bfloat16* const* rows, int64_t count, int64_t n,
                 float* y);

// Mean and 1 / sqrt(variance + epsilon) of a row, in two passes, of which the second also finds
// what the mean of the first is wrong by (the corrected two-pass algorithm of Chan, Golub and
// LeVeque, 1983). Equal numbers have exactly that mean: if epsilon is BERT's 1e-12, what is left of
// them is multiplied by a million.
void Moments(const float* x, int64_t n, float epsilon, float* mean, float* inverse_deviation);
// y = (x - mean) * inverse_deviation * gamma + beta
void Normalize(const float* x, float mean, float inverse_deviation, const float* gamma,
               const float* beta, int64_t n, float* y);
// Gradient of Normalize over Moments: writes dx, adds to dgamma and dbeta. dy and dx may be the
// same.
void NormalizeGradient(const float* dy, const float* x, float mean, float inverse_deviation,
                       const float* gamma, int64_t n, float* dx, float* dgamma, float* dbeta);

// Replaces scores by softmax(scores); returns log(sum(exp(scores))).
float Softmax(int64_t n, float* scores);
// Replaces scores by exp(scores - log_sum).
void ExpMinus(float log_sum, int64_t n, float* scores);
// ds = p * (dp - sum(p * dp)) * scale, over dp in place.
void SoftmaxGradient(const float* p, float scale, int64_t n, float* dp);

// top = max(x), exp_sum = sum(exp(x - top)), below_sum = sum(x - top). Finite where every x is; a
// top of -inf is replaced by the lowest float, so that a piece of a row may be all -inf.
void SumsBelowTop(const float* x, int64_t n, float* top, float* exp_sum, float* below_sum);
// The indices of the numbers that are larger than `bound`, in ascending order; returns their
// number. indices: [n]; not only those returned may be written.
int64_t IndicesAbove(const float* x, int64_t n, float bound, int32_t* indices);
// The sum of the weights of numbers that are larger than `bound`, and how many there are. Within
// 1,024 numbers in float32, beyond in double; no less for a lower bound.
struct Amount {
  int64_t count;
  double sum;
};
Amount AmountAbove(const float* x, const float* weights, int64_t n, float bound);
// y = exp((x - top) * factor); x and y may be the same.
void ExpBelow(const float* x, float top, float factor, int64_t n, float* y);
// The indices i, in ascending order, of which (x[i] - top) * factor + the noise of token `first` +
// i may exceed `bound`: all that do, and few others. Returns their number. x is not above top;
// first is a multiple of 4; indices: [n], not only those returned may be written.
int64_t MayExceed(const Philox::RoundKeys& keys, const SampleCounter& counter, int64_t first,
                  const float* x, int64_t n, float top, float factor, double bound,
                  int32_t* indices);
// y = scale * exp(x - top) - offset; x and y may be the same.
void ScaledExpMinus(const float* x, float top, float scale, float offset, int64_t n, float* y);

void Activate(Activation kind, const float* x, int64_t n, float* y);
// dx = dy * activation'(x); dy and dx may be the same.
void ActivateGradient(Activation kind, const float* x, const float* dy, int64_t n, float* dx);

// y = x * factor, held within [-bound, bound]; a NaN stays one.
void ScaleAndClip(const float* x, float factor, float bound, int64_t n, float* y);
// Sum of the squares of a row. In double, in which no float32 overflows: it is finite if and only
// if all of x are.
double SumOfSquares(const float* x, int64_t n);

// What one step of Adam does to each number: Kingma and Ba, "Adam: a method for stochastic
// optimization", 2015, in the form at the end of its section 2.
struct AdamCoefficients {
  float gradient_factor;
  float one_minus_beta1;
  float one_minus_beta2;
  float rate;  // learning rate * sqrt(1 - beta2^t) / (1 - beta1^t)
  float epsilon;
  float decay;  // the part of the variable that is taken away before
};
// With g = gradient * gradient_factor: m += (g - m) * one_minus_beta1, v += (g^2 - v) *
// one_minus_beta2, variable -= variable * decay, variable -= rate * m / (sqrt(v) + epsilon).
void Adam(const AdamCoefficients& coefficients, const float* gradient, int64_t n, float* m,
          float* v, float* variable);

// mask[j] = 0 where element (row, j) is dropped, 1 / (1 - rate) where it is kept.
void DropoutMask(const Dropout& dropout, uint32_t row, uint32_t lane, int64_t n, float* mask);

}  // namespace row
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_ROW_MATH_H_
