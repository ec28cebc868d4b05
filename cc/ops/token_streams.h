#ifndef TF_LS_CC_OPS_TOKEN_STREAMS_H_
#define TF_LS_CC_OPS_TOKEN_STREAMS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "cc/decoding/token_stream.h"
#include "cc/ops/checks.h"

namespace tf_ls {

// The token streams of this process that are open, by numbers that never come again. A number is
// something that a signature can take and that fits every device, unlike a resource: TensorFlow
// would want that on the device of the decoder.
class TokenStreams {
 public:
  static TokenStreams& Global() {
    static auto* const streams = new TokenStreams;
    return *streams;
  }

  int64_t Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    streams_[++last_] = std::make_shared<TokenStream>();
    return last_;
  }

  // Null if it is closed.
  Status Find(int64_t number, std::shared_ptr<TokenStream>* stream) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (number < 1 || number > last_) {
      return tensorflow::errors::InvalidArgument("there is no token stream ", number);
    }
    const auto place = streams_.find(number);
    *stream = place == streams_.end() ? nullptr : place->second;
    return Status();
  }

  Status Close(int64_t number) {
    std::shared_ptr<TokenStream> stream;
    TF_LS_RETURN_IF_ERROR(Find(number, &stream));
    if (stream == nullptr) return Status();
    stream->Close();
    const std::lock_guard<std::mutex> lock(mutex_);
    streams_.erase(number);
    return Status();
  }

 private:
  TokenStreams() = default;

  mutable std::mutex mutex_;
  std::map<int64_t, std::shared_ptr<TokenStream>> streams_;
  int64_t last_ = 0;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_TOKEN_STREAMS_H_
