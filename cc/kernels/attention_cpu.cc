#include <algorithm>
#include <cmath>

#include "cc/kernels/attention.h"
#include "cc/kernels/row_access.h"
#include "cc/kernels/row_math.h"
#include "cc/kernels/small_gemm.h"

namespace tf_ls {
namespace {

// Queries that are worked on at once: their scores against some hundred keys stay in the
// second-level cache.
constexpr int64_t kQueryBlock = 48;

// One head of one sentence.
struct Head {
  int64_t sentence, head;
  int64_t query_row, queries;
  int64_t key_row, key_rows, keys;  // of key_rows rows the first `keys` may be attended to
};

Head MakeHead(const AttentionShape& shape, int64_t task) {
  const int64_t i = task / shape.heads;
  return {i,
          task % shape.heads,
          shape.queries.offsets[i],
          shape.queries.Rows(i),
          shape.keys.offsets[i],
          shape.keys.Rows(i),
          shape.keys.lengths[i]};
}

// How many keys query i of a sentence sees.
int64_t VisibleKeys(const AttentionShape& shape, const Head& head, int64_t i) {
  int64_t keys = head.keys;
  if (shape.causal) keys = std::min(keys, i + 1 + head.key_rows - head.queries);
  return std::clamp<int64_t>(shape.lag + i, 0, std::max<int64_t>(keys, 0));
}

// to[i, 0 .. head_size) = one head's part of rows first .. first + rows, padded with zeros to
// `width`.
template <typename T>
void CopyHead(HeadRows<const T> from, int64_t first, int64_t rows, int64_t head, int64_t head_size,
              int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i) {
    float* const target = to + i * width;
    const T* const source = from.data + (first + i) * from.stride + head * head_size;
    const float* const values = ReadRow(source, head_size, target);
    if (values != target) std::copy(values, values + head_size, target);
    std::fill(target + head_size, target + width, 0.0f);
  }
}

// to[0 .. head_size, i] = scale * from[i, 0 .. head_size), padded with zeros to `width` columns.
void TransposeHead(const float* from, int64_t rows, int64_t from_width, int64_t head_size,
                   float scale, int64_t width, float* to) {
  for (int64_t j = 0; j < head_size; ++j) {
    for (int64_t i = 0; i < rows; ++i) to[j * width + i] = scale * from[i * from_width + j];
    std::fill(to + j * width + rows, to + (j + 1) * width, 0.0f);
  }
}

template <typename T>
void StoreHead(float* from, int64_t rows, int64_t width, int64_t first, int64_t head,
               int64_t head_size, HeadRows<T> to) {
  for (int64_t i = 0; i < rows; ++i) {
    T* const target = to.data + (first + i) * to.stride + head * head_size;
    float* const out = RowTarget(target, from + i * width);
    if (out != from + i * width) std::copy(from + i * width, from + i * width + head_size, out);
    WriteRow(out, head_size, target);
  }
}

// Zeroes the rows that belong to no sentence.
template <typename T>
void ClearTail(const Sentences& sentences, int64_t width, HeadRows<T> x) {
  for (int64_t i = sentences.offsets[sentences.count]; i < sentences.rows; ++i) {
    std::fill(x.data + i * x.stride, x.data + i * x.stride + width, T{});
  }
}

int64_t AverageCycles(const AttentionShape& shape, int64_t products) {
  const int64_t count = std::max<int64_t>(1, shape.queries.count);
  const int64_t queries = shape.queries.rows / count + 1;
  const int64_t keys = shape.keys.rows / count + 1;
  return products * queries * keys * shape.head_size / 8 + 1;
}

// The scores of a block of queries against the keys that any of them sees.
struct Block {
  int64_t first, queries;
  int64_t keys;  // seen by the last query, which sees most
};

Block MakeBlock(const AttentionShape& shape, const Head& head, int64_t first) {
  const int64_t queries = std::min(kQueryBlock, head.queries - first);
  return {first, queries, VisibleKeys(shape, head, first + queries - 1)};
}

}  // namespace

template <typename T>
void Attention(const Cpu& cpu, const AttentionShape& shape, const Dropout& dropout,
               HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, T* out,
               float* log_sums) {
  const int64_t size = shape.head_size;
  const int64_t width = PadToLanes(size);
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  const HeadRows<T> o = {out, shape.hidden_size()};
  ClearTail(shape.queries, shape.hidden_size(), o);
  const auto run_head = [&](const Head& head) {
    const int64_t key_width = PadToLanes(head.keys);
    float* const keys = ThreadBuffer<1>(head.keys * width);
    float* const keys_t = ThreadBuffer<2>(size * key_width);
    CopyHead(k, head.key_row, head.keys, head.head, size, width, keys);
    TransposeHead(keys, head.keys, width, size, scale, key_width, keys_t);
    float* const values = keys;  // the keys are needed transposed only
    CopyHead(v, head.key_row, head.keys, head.head, size, width, values);
    float* const queries = ThreadBuffer<3>(kQueryBlock * width);
    float* const scores = ThreadBuffer<4>(kQueryBlock * key_width);
    float* const mask = ThreadBuffer<5>(key_width);
    for (int64_t first = 0; first < head.queries; first += kQueryBlock) {
      const Block block = MakeBlock(shape, head, first);
      CopyHead(q, head.query_row + first, block.queries, head.head, size, width, queries);
      SmallGemm(block.queries, PadToLanes(block.keys), size, queries, width, 1, keys_t, key_width,
                scores, key_width, false);
      for (int64_t i = 0; i < block.queries; ++i) {
        float* const line = scores + i * key_width;
        const int64_t seen = VisibleKeys(shape, head, first + i);
        const int64_t query = head.query_row + first + i;
        log_sums[head.head * shape.queries.rows + query] =
            seen > 0 ? row::Softmax(seen, line) : 0.0f;
        std::fill(line + seen, line + block.keys, 0.0f);
        if (dropout.active()) {
          row::DropoutMask(dropout, query, head.head, seen, mask);
          row::Multiply(line, mask, seen, line);
        }
      }
      float* const result = queries;  // no longer needed
      SmallGemm(block.queries, width, block.keys, scores, key_width, 1, values, width, result,
                width, false);
      StoreHead(result, block.queries, width, head.query_row + first, head.head, size, o);
    }
  };
  cpu.threads->ParallelFor(shape.queries.count * shape.heads, AverageCycles(shape, 2),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t task = begin; task < end; ++task)
                               run_head(MakeHead(shape, task));
                           });
}

template <typename T>
void AttentionGradient(const Cpu& cpu, const AttentionShape& shape, const Dropout& dropout,
                       HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                       const T* /*out*/, const float* log_sums, const T* dout, HeadRows<T> dq,
                       HeadRows<T> dk, HeadRows<T> dv) {
  const int64_t size = shape.head_size;
  const int64_t width = PadToLanes(size);
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  const HeadRows<const T> d_out = {dout, shape.hidden_size()};
  ClearTail(shape.queries, shape.hidden_size(), dq);
  ClearTail(shape.keys, shape.hidden_size(), dk);
  ClearTail(shape.keys, shape.hidden_size(), dv);
  const auto run_head = [&](const Head& head) {
    const int64_t key_width = PadToLanes(head.keys);
    float* const keys = ThreadBuffer<1>(head.keys * width);
    float* const keys_t = ThreadBuffer<2>(size * key_width);
    float* const values_t = ThreadBuffer<3>(size * key_width);
    CopyHead(v, head.key_row, head.keys, head.head, size, width, keys);
    TransposeHead(keys, head.keys, width, size, 1.0f, key_width, values_t);
    CopyHead(k, head.key_row, head.keys, head.head, size, width, keys);
    TransposeHead(keys, head.keys, width, size, scale, key_width, keys_t);
    float* const key_gradient = ThreadBuffer<4>(head.key_rows * width);
    float* const value_gradient = ThreadBuffer<5>(head.key_rows * width);
    std::fill(key_gradient, key_gradient + head.key_rows * width, 0.0f);
    std::fill(value_gradient, value_gradient + head.key_rows * width, 0.0f);
    float* const queries = ThreadBuffer<6>(kQueryBlock * width);
    float* const out_gradient = ThreadBuffer<7>(kQueryBlock * width);
    float* const weights = ThreadBuffer<8>(kQueryBlock * key_width);
    float* const dropped = dropout.active() ? ThreadBuffer<9>(kQueryBlock * key_width) : weights;
    float* const gradient = ThreadBuffer<10>(kQueryBlock * key_width);
    float* const mask = ThreadBuffer<11>(key_width);
    for (int64_t first = 0; first < head.queries; first += kQueryBlock) {
      const Block block = MakeBlock(shape, head, first);
      const int64_t block_width = PadToLanes(block.keys);
      CopyHead(q, head.query_row + first, block.queries, head.head, size, width, queries);
      CopyHead(d_out, head.query_row + first, block.queries, head.head, size, width, out_gradient);
      SmallGemm(block.queries, block_width, size, queries, width, 1, keys_t, key_width, weights,
                key_width, false);
      SmallGemm(block.queries, block_width, size, out_gradient, width, 1, values_t, key_width,
                gradient, key_width, false);
      for (int64_t i = 0; i < block.queries; ++i) {
        const int64_t seen = VisibleKeys(shape, head, first + i);
        const int64_t query = head.query_row + first + i;
        float* const line = weights + i * key_width;
        float* const dline = gradient + i * key_width;
        float* const dropped_line = dropped + i * key_width;
        row::ExpMinus(log_sums[head.head * shape.queries.rows + query], seen, line);
        if (dropout.active()) {
          row::DropoutMask(dropout, query, head.head, seen, mask);
          row::Multiply(line, mask, seen, dropped_line);
          row::Multiply(dline, mask, seen, dline);
        }
        row::SoftmaxGradient(line, scale, seen, dline);
        std::fill(dropped_line + seen, dropped_line + block.keys, 0.0f);
        std::fill(dline + seen, dline + block.keys, 0.0f);
      }
      SmallGemm(block.keys, width, block.queries, gradient, 1, key_width, queries, width,
                key_gradient, width, true);
      SmallGemm(block.keys, width, block.queries, dropped, 1, key_width, out_gradient, width,
                value_gradient, width, true);
      float* const query_gradient = queries;  // no longer needed
      SmallGemm(block.queries, width, block.keys, gradient, key_width, 1, keys, width,
                query_gradient, width, false);
      StoreHead(query_gradient, block.queries, width, head.query_row + first, head.head, size, dq);
    }
    StoreHead(key_gradient, head.key_rows, width, head.key_row, head.head, size, dk);
    StoreHead(value_gradient, head.key_rows, width, head.key_row, head.head, size, dv);
  };
  cpu.threads->ParallelFor(shape.queries.count * shape.heads, AverageCycles(shape, 5),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t task = begin; task < end; ++task)
                               run_head(MakeHead(shape, task));
                           });
}

template void Attention(const Cpu&, const AttentionShape&, const Dropout&, HeadRows<const float>,
                        HeadRows<const float>, HeadRows<const float>, float*, float*);
template void Attention(const Cpu&, const AttentionShape&, const Dropout&, HeadRows<const bfloat16>,
                        HeadRows<const bfloat16>, HeadRows<const bfloat16>, bfloat16*, float*);
template void AttentionGradient(const Cpu&, const AttentionShape&, const Dropout&,
                                HeadRows<const float>, HeadRows<const float>, HeadRows<const float>,
                                const float*, const float*, const float*, HeadRows<float>,
                                HeadRows<float>, HeadRows<float>);
template void AttentionGradient(const Cpu&, const AttentionShape&, const Dropout&,
                                HeadRows<const bfloat16>, HeadRows<const bfloat16>,
                                HeadRows<const bfloat16>, const bfloat16*, const float*,
                                const bfloat16*, HeadRows<bfloat16>, HeadRows<bfloat16>,
                                HeadRows<bfloat16>);

}  // namespace tf_ls
