#ifndef TF_LS_CC_KERNELS_CROSS_ENTROPY_H_
#define TF_LS_CC_KERNELS_CROSS_ENTROPY_H_

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/cpu.h"
#include "cc/core/gpu.h"

namespace tf_ls {

// What rows of logits are held against, labels and weights in the memory of the device. Who calls
// checks the labels, on the host. A label stands for the distribution t that gives
// 1 - smoothing to the label and smoothing / (vocab_size - 1) to each other word.
struct CrossEntropyTargets {
  int64_t rows;
  int64_t vocab_size;
  const int32_t* labels;  // [rows]; from 0 to vocab_size - 1 where the row counts
  const float* weights;   // [rows]; a row of weight 0 does not count, and its logits are not read
  float smoothing;        // in [0, 1); 0 if vocab_size is 1
};

// The label-smoothed cross entropy of each row, less the smallest value that it can have, as
// NeurST's LabelSmoothedCrossEntropy defines it, and without smoothing:
//   losses[i] = weights[i] * (-sum_j t_j * log softmax(logits[i])_j - entropy(t))
//   nlls[i]   = weights[i] * -log softmax(logits[i])_label
// logits: [rows, V], losses and nlls: [rows]. statistics: [rows, 2], the largest logit and the sum
// of exp(logit - largest), which the gradient reads again.
//
// Cost: reads the logits once (the CPU in pieces that stay in the first-level cache); one
// exponential each.
template <typename T>
void CrossEntropy(const Cpu& cpu, const CrossEntropyTargets& targets, const T* logits,
                  float* losses, float* nlls, float* statistics);
template <typename T>
void CrossEntropy(const Gpu& gpu, const CrossEntropyTargets& targets, const T* logits,
                  float* losses, float* nlls, float* statistics);

// dlogits = weight * (dloss * (softmax - t) + dnll * (softmax - label's one-hot)); zeros for rows
// that do not count. dlogits may be logits. Cost: reads the logits and writes dlogits once.
template <typename T>
void CrossEntropyGradient(const Cpu& cpu, const CrossEntropyTargets& targets, const T* logits,
                          const float* statistics, const float* dlosses, const float* dnlls,
                          T* dlogits);
template <typename T>
void CrossEntropyGradient(const Gpu& gpu, const CrossEntropyTargets& targets, const T* logits,
                          const float* statistics, const float* dlosses, const float* dnlls,
                          T* dlogits);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CROSS_ENTROPY_H_
