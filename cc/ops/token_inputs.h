#ifndef TF_LS_CC_OPS_TOKEN_INPUTS_H_
#define TF_LS_CC_OPS_TOKEN_INPUTS_H_

#include <cstdint>
#include <vector>

#include "cc/kernels/token_rows.h"
#include "cc/ops/checks.h"

namespace tf_ls {

// The ids and positions of rows, checked: each id is in the vocabulary, and each position, which
// counts from `start` on, has a row in a table of position_rows. Ids are read on the host, also for
// GPUs.
Status ReadTokens(const TokenSource& source, int64_t vocab_size, int64_t start,
                  int64_t position_rows, std::vector<int32_t>* ids,
                  std::vector<int32_t>* positions);

}  // namespace tf_ls

#endif  // TF_LS_CC_OPS_TOKEN_INPUTS_H_
