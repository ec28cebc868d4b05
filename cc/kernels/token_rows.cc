#include "cc/kernels/token_rows.h"

namespace tf_ls {

int64_t FindTokens(const TokenSource& source, int64_t vocab_size, int64_t max_length, int32_t* ids,
                   int32_t* positions) {
  for (int64_t row = 0; row < source.rows; ++row) {
    const int64_t token = source.Token(row);
    if (token == -1) {
      ids[row] = -1;
      positions[row] = 0;
      continue;
    }
    if (token < 0 || token >= source.count) return row;
    const int64_t id = source.ids[token];
    const int64_t position = token % source.length;
    if (id < 0 || id >= vocab_size || position >= max_length) return row;
    ids[row] = static_cast<int32_t>(id);
    positions[row] = static_cast<int32_t>(position);
  }
  return source.rows;
}

}  // namespace tf_ls
