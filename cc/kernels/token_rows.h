#ifndef TF_LS_CC_KERNELS_TOKEN_ROWS_H_
#define TF_LS_CC_KERNELS_TOKEN_ROWS_H_

#include <cstdint>

namespace tf_ls {

// Which token each row holds, and its position in its sentence. id -1: none.
struct TokenRows {
  int64_t count;
  const int32_t* ids;
  const int32_t* positions;
};

// Sentences [batch, length] of ids and the rows that are taken from them.
struct TokenSource {
  const int64_t* ids;
  int64_t count;   // batch * length
  int64_t length;  // token i of the ids has position i % length
  int64_t rows;
  const int32_t*
      indices;  // [rows]: which token a row holds, -1 for none; null: row i holds token i

  int64_t Token(int64_t row) const { return indices == nullptr ? row : indices[row]; }
};

// Fills ids and positions, each [source.rows]. Returns the first row whose index, id or position
// (which must be less than `max_length`) is out of range, or source.rows if there is none. What is
// to be embedded on a GPU is checked here as well, before it goes there.
int64_t FindTokens(const TokenSource& source, int64_t vocab_size, int64_t max_length, int32_t* ids,
                   int32_t* positions);

}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_TOKEN_ROWS_H_
