#include "cc/ops/token_inputs.h"

#include <limits>

namespace tf_ls {

using tensorflow::errors::InvalidArgument;

Status ReadTokens(const TokenSource& source, int64_t vocab_size, int64_t start,
                  int64_t position_rows, std::vector<int32_t>* ids,
                  std::vector<int32_t>* positions) {
  if (vocab_size > std::numeric_limits<int32_t>::max()) {
    return InvalidArgument("table has ", vocab_size, " rows, more than ids can count");
  }
  ids->resize(source.rows);
  positions->resize(source.rows);
  const int64_t bad =
      FindTokens(source, vocab_size, position_rows - start, ids->data(), positions->data());
  if (bad == source.rows) return Status();
  const int64_t token = source.Token(bad);
  if (token < 0 || token >= source.count) {
    return InvalidArgument("index ", bad, " must be from -1 to ", source.count - 1, ", got ",
                           token);
  }
  const int64_t sentence = token / source.length;
  const int64_t place = token % source.length;
  const int64_t id = source.ids[token];
  if (id < 0 || id >= vocab_size) {
    return InvalidArgument("ids must be from 0 to ", vocab_size - 1, " in a vocabulary of ",
                           vocab_size, ", got ", id, " at [", sentence, ", ", place, "]");
  }
  return InvalidArgument("the table of positions has ", position_rows, " rows, but the token at [",
                         sentence, ", ", place, "] has position ", start + place);
}

}  // namespace tf_ls
