#include "cc/text/sentencepiece_model.h"

#include <stdexcept>

#include "sentencepiece/src/sentencepiece_processor.h"

namespace tf_ls {
namespace {

void Check(const sentencepiece::util::Status& status, const std::string& what) {
  if (!status.ok()) throw std::invalid_argument(what + ": " + status.ToString());
}

}  // namespace

class SentencePieceModel::Processor : public sentencepiece::SentencePieceProcessor {};

SentencePieceModel::SentencePieceModel(std::string_view serialized)
    : processor_(std::make_unique<Processor>()) {
  const std::string what =
      "not a SentencePiece model (" + std::to_string(serialized.size()) + " bytes)";
  // To Protocol Buffers no bytes at all are a message, too.
  if (serialized.empty()) throw std::invalid_argument(what);
  Check(processor_->LoadFromSerializedProto(serialized), what);
  size_ = processor_->GetPieceSize();
}

SentencePieceModel::~SentencePieceModel() = default;

std::string SentencePieceModel::piece(int id) const {
  if (id < 0 || id >= size_) {
    throw std::invalid_argument("a piece's id must be from 0 to " + std::to_string(size_ - 1) +
                                ", got " + std::to_string(id));
  }
  return processor_->IdToPiece(id);
}

int SentencePieceModel::eos_id() const { return processor_->eos_id(); }

int SentencePieceModel::unknown_id() const { return processor_->unk_id(); }

std::vector<int> SentencePieceModel::Encode(std::string_view sentence) const {
  std::vector<int> ids;
  Check(processor_->Encode(sentence, &ids), "SentencePiece cannot encode the sentence");
  return ids;
}

std::string SentencePieceModel::Decode(const std::vector<int>& ids) const {
  std::string sentence;
  Check(processor_->Decode(ids, &sentence), "SentencePiece cannot decode the ids");
  return sentence;
}

}  // namespace tf_ls
