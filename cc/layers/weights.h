#ifndef TF_LS_CC_LAYERS_WEIGHTS_H_
#define TF_LS_CC_LAYERS_WEIGHTS_H_

#include <cstdint>
#include <vector>

namespace tf_ls {

// The weights of each kind of block, float32, in the order in which operations take them. P is
// `const float*` for the weights and `float*` for their gradients. H is hidden_size, F filter_size,
// M memory_size.

template <typename P>
struct LayerNormWeights {
  P gamma;  // [H]
  P beta;   // [H]
};

template <typename P>
struct DenseWeights {
  P kernel;  // [inputs, outputs]
  P bias;    // [outputs]
};

template <typename P>
struct SelfAttentionWeights {
  static constexpr int kCount = 6;
  LayerNormWeights<P> norm;
  DenseWeights<P> qkv;  // [H, 3H]: queries, keys, values side by side
  DenseWeights<P> out;  // [H, H]

  static SelfAttentionWeights From(const P* p) {
    return {{p[0], p[1]}, {p[2], p[3]}, {p[4], p[5]}};
  }
};

template <typename P>
struct CrossAttentionWeights {
  static constexpr int kCount = 8;
  LayerNormWeights<P> norm;
  DenseWeights<P> q;   // [H, H]
  DenseWeights<P> kv;  // [M, 2H]: keys, values side by side
  DenseWeights<P> out;

  static CrossAttentionWeights From(const P* p) {
    return {{p[0], p[1]}, {p[2], p[3]}, {p[4], p[5]}, {p[6], p[7]}};
  }
};

template <typename P>
struct FfnWeights {
  static constexpr int kCount = 6;
  LayerNormWeights<P> norm;
  DenseWeights<P> dense1;  // [H, F]
  DenseWeights<P> dense2;  // [F, H]

  static FfnWeights From(const P* p) { return {{p[0], p[1]}, {p[2], p[3]}, {p[4], p[5]}}; }
};

}  // namespace tf_ls

#endif  // TF_LS_CC_LAYERS_WEIGHTS_H_
