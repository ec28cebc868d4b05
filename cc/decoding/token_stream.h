#ifndef TF_LS_CC_DECODING_TOKEN_STREAM_H_
#define TF_LS_CC_DECODING_TOKEN_STREAM_H_

#include <condition_variable>
#include <mutex>
#include <vector>

#include "cc/decoding/search_batch.h"

namespace tf_ls {

// Tokens on their way from a generation loop to who reads them in another thread. The loop never
// waits for the reader: what is not read yet is kept, which is no more than the loop's results.
class TokenStream {
 public:
  // Says who writes; false if somebody else does or did, or the stream is closed.
  bool Begin() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool is_first = !begun_ && !closed_;
    begun_ = true;
    return is_first;
  }

  // Of no effect after Close.
  void Write(const std::vector<NewToken>& tokens) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    if (!tokens_.empty()) changed_.notify_all();
  }

  // Nothing more comes.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  // All that was written since the last Read; waits for the next if that is nothing. Empty once
  // the stream is closed and all of it is read.
  std::vector<NewToken> Read() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !tokens_.empty(); });
    std::vector<NewToken> tokens;
    tokens.swap(tokens_);
    return tokens;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<NewToken> tokens_;
  bool begun_ = false;
  bool closed_ = false;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_DECODING_TOKEN_STREAM_H_
