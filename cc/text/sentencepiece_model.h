#ifndef TF_LS_CC_TEXT_SENTENCEPIECE_MODEL_H_
#define TF_LS_CC_TEXT_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tf_ls {

// A SentencePiece model: cuts sentences into pieces of its vocabulary, and joins pieces to
// sentences. Any number of threads may use it at once. What is wrong with an argument comes out as
// std::invalid_argument.
class SentencePieceModel {
 public:
  // `serialized`: the bytes of a model file.
  explicit SentencePieceModel(std::string_view serialized);
  ~SentencePieceModel();

  // The number of pieces. Ids go from 0 to size() - 1.
  int size() const { return size_; }
  std::string piece(int id) const;
  // What SentencePiece puts behind a sentence; -1 if the model has none.
  int eos_id() const;
  int unknown_id() const;

  // The ids of a sentence in UTF-8. SentencePiece takes a byte that is no UTF-8 for the replacement
  // character U+FFFD.
  std::vector<int> Encode(std::string_view sentence) const;

  // The sentence that ids stand for. Control symbols such as eos are left out.
  std::string Decode(const std::vector<int>& ids) const;

 private:
  class Processor;

  std::unique_ptr<Processor> processor_;
  int size_;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_TEXT_SENTENCEPIECE_MODEL_H_
