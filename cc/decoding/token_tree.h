#ifndef TF_LS_CC_DECODING_TOKEN_TREE_H_
#define TF_LS_CC_DECODING_TOKEN_TREE_H_

#include <cstdint>
#include <vector>

namespace tf_ls {

// The tokens of a sentence's hypotheses, which share what they have in common: a hypothesis is the
// node of its last token.
class TokenTree {
 public:
  static constexpr int kRoot = -1;  // no token

  // What is known of a token: `attention` is a number that the tree's user gives a meaning.
  int Add(int parent, int32_t token, float log_prob, int attention) {
    nodes_.push_back({parent, Length(parent) + 1, token, log_prob, attention});
    return static_cast<int>(nodes_.size()) - 1;
  }

  int32_t Token(int node) const { return nodes_[node].token; }
  float LogProb(int node) const { return nodes_[node].log_prob; }
  std::vector<int32_t> Tokens(int node) const {
    return Collect<int32_t>(node, [](const Node& n) { return n.token; });
  }
  std::vector<float> LogProbs(int node) const {
    return Collect<float>(node, [](const Node& n) { return n.log_prob; });
  }
  std::vector<int> Attention(int node) const {
    return Collect<int>(node, [](const Node& n) { return n.attention; });
  }

 private:
  struct Node {
    int parent, length;
    int32_t token;
    float log_prob;
    int attention;
  };

  int Length(int node) const { return node == kRoot ? 0 : nodes_[node].length; }

  template <typename T, typename Get>
  std::vector<T> Collect(int node, const Get& get) const {
    std::vector<T> values(Length(node));
    for (; node != kRoot; node = nodes_[node].parent) {
      values[nodes_[node].length - 1] = get(nodes_[node]);
    }
    return values;
  }

  std::vector<Node> nodes_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_TOKEN_TREE_H_
