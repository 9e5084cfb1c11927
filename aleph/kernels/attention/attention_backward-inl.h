// Backward of a block of queries, or of a tile of keys: P = exp(S - log_sum), dP = dO V^T, dS = P (dP - D)
// with D = sum over head_dim of dO O.
#pragma once

#include <algorithm>
#include <cstdint>

#include "aleph/kernels/attention/attention_products-inl.h"
#include "aleph/kernels/attention/attention_softmax-inl.h"

namespace aleph::kernels::attention {
namespace {

template <typename V, typename T>
inline float row_dot(const T* a, const T* b, int64_t n) {
  auto sums = V::set1(0.0f);
  int64_t i = 0;
  for (; i + V::kWidth <= n; i += V::kWidth) sums = V::fma(V::load(a + i), V::load(b + i), sums);
  float sum = V::sum(sums);
  for (; i < n; ++i) sum += simd::load(a + i) * simd::load(b + i);
  return sum;
}

/// What the backward products need of a block of queries.
template <typename V, typename T>
struct BackwardBlock {
  using Form = Operands<V, T>;
  using Element = typename Form::Element;

  void take(Scratch& scratch, int64_t head_dim) {
    const int64_t width = padded(head_dim);
    query = scratch.take<Element>(Form::units(kLanes) * width);
    dout = scratch.take<Element>(Form::units(kLanes) * width);
    query_lanes = scratch.take<Element>(padded(Form::units(head_dim)) * kLanes);
    dout_lanes = scratch.take<Element>(padded(Form::units(head_dim)) * kLanes);
  }

  void load(const Block& block, int64_t batch, Element* space) {
    const Problem& p = block.p;
    Form::load_block(block, p.q, batch, query_lanes, query, space);
    Form::load_block(block, p.dout, batch, dout_lanes, dout, space);
    std::fill(deltas, deltas + kLanes, 0.0f);
    std::fill(shifts, shifts + kLanes, 0.0f);
    const int64_t distance = ahead(block, p.result);
    block.for_each_row([&](int64_t l, int64_t token, int64_t head) {
      const T* result = p.result.template row<T>(batch, token, head);
      prefetch(result + distance, p.head_dim);
      deltas[l] = row_dot<V>(result, p.dout.template row<T>(batch, token, head), p.head_dim);
      shifts[l] = -p.given_log_sums[block.statistic(batch, token, head)] * kLog2E;
    });
  }

  Element *query, *dout;                             // [units(kLanes), padded(head_dim)]
  Element *query_lanes, *dout_lanes;                 // [units(head_dim), kLanes]
  alignas(64) float deltas[kLanes], shifts[kLanes];  // D; minus log_sum, in units of log 2
};

/// Scratch of a backward tile.
template <typename V, typename T>
struct BackwardTile {
  using Form = Operands<V, T>;
  using Element = typename Form::Element;

  BackwardTile(const Problem& p, float* memory) {
    Scratch scratch(memory);
    const int64_t width = padded(p.head_dim);
    queries.take(scratch, p.head_dim);
    dquery = scratch.take<float>(kLanes * width);  // [kLanes, width]
    key_space = scratch.take<Element>(kKeyTile * Form::units(width));
    value_space = scratch.take<Element>(kKeyTile * Form::units(width));
    weights = scratch.take<Element>(kKeyTile * Form::units(kLanes));
    dscores = scratch.take<Element>(kKeyTile * Form::units(kLanes));
    keep = scratch.take<uint64_t>(kKeyTile);
    key_columns = key_space, dscore_columns = dscores;
    stage = reinterpret_cast<float*>(weights), dstage = reinterpret_cast<float*>(dscores);
    if (Form::kSameColumns) return;
    key_columns = scratch.take<Element>(Form::units(kKeyTile) * width);
    dscore_columns = scratch.take<Element>(Form::units(kKeyTile) * kLanes);
    stage = scratch.take<float>(kStage * kLanes);
    dstage = scratch.take<float>(kStage * kLanes);
  }

  void load_queries(const Block& block, int64_t batch) { queries.load(block, batch, dscore_space()); }

  void load_keys(const Problem& p, int64_t batch, int64_t kv_head, int64_t key, int64_t count) {
    if (Form::kSameColumns) {
      Form::load_key_columns(p, p.k, batch, kv_head, key, count, key_columns);
      keys = {key_columns, padded(p.head_dim)};
    } else {
      keys = Form::key_rows(p, p.k, batch, kv_head, key, count, key_space);
    }
    values = Form::key_rows(p, p.v, batch, kv_head, key, count, value_space);
  }

  /// weights and dscores of keys [key, key + count), which stand at row `offset` of keys and values.
  void scores(const Block& block, int64_t batch, int64_t key, int64_t count, int64_t offset) {
    const Kept kept = draw_kept(block, batch, key, count, keep);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      for (int64_t first = part.first; first < part.first + part.count; first += kStage) {
        const int64_t keys_left = part.first + part.count - first;
        score_part(block, {first, std::min(kStage, keys_left), part.lane}, key, offset, kept);
      }
    });
  }

  /// dquery gets what keys [key, key + count) give it.
  void add_to_queries(const Block& block, int64_t batch, int64_t key, int64_t count) {
    const Problem& p = block.p;
    if (!Form::kSameColumns) Form::load_key_columns(p, p.k, batch, block.kv_head, key, count, key_columns);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      add_keys<V, Form>(block, part, key, dscore_columns, key_columns, dquery, coming);
    });
  }

  /// dk and dv, at the row of `key`, get what the block of queries gives them.
  void add_to_keys(const Block& block, int64_t key, int64_t count, float* dk, float* dv) {
    block.for_each_part(key, count, [&](const Block::Part& part) {
      add_lanes(block, part, weights, queries.dout, dv);
      add_lanes(block, part, dscores, queries.query, dk);
    });
  }

  BackwardBlock<V, T> queries;
  ComingRows coming;
  float* dquery;

 private:
  static constexpr int64_t kLaneUnits = Form::units(kLanes);

  /// Space for rows of a block that nobody needs when queries are loaded.
  Element* dscore_space() { return reinterpret_cast<Element*>(dquery); }

  void score_part(const Block& block, const Block::Part& part, int64_t key, int64_t offset,
                  const Kept& kept) {
    const Problem& p = block.p;
    const int64_t at = Form::kSameColumns ? part.first * kLanes : 0, row = offset + part.first;
    multiply(part, p.head_dim, keys, row, queries.query_lanes, stage + at);
    multiply(part, p.head_dim, values, row, queries.dout_lanes, dstage + at);
    block.mask(key + part.first, part.count, stage + at);
    with_kept(kept, [&](const auto& of) { weigh(part, of, p.scale * kLog2E, stage + at, dstage + at); });
  }

  /// result [keys, kLanes] = rows [keys, head_dim] lanes [head_dim, kLanes], of one part, whose keys stand
  /// from `row` on.
  void multiply(const Block::Part& part, int64_t head_dim, const KeyRows<Element>& rows, int64_t row,
                const Element* lanes, float* result) {
    const int64_t units = Form::units(head_dim);
    product<V, Layout::kRows, Into::kSet, Element>(
        part.count, kLanes - part.lane,
        {units, rows.data + row * rows.stride, rows.stride, lanes + part.lane, kLanes, result + part.lane,
         kLanes, coming});
  }

  /// sums [keys, padded(head_dim)] += factors [keys, lanes] rows [lanes, padded(head_dim)].
  void add_lanes(const Block& block, const Block::Part& part, const Element* factors, const Element* rows,
                 float* sums) {
    const int64_t width = padded(block.p.head_dim), lane = Form::units(part.lane);
    const int64_t lanes = std::max<int64_t>(0, block.count - part.lane);
    product<V, Layout::kRows, Into::kAdd, Element>(
        part.count, width,
        {Form::units(lanes), factors + part.first * kLaneUnits + lane, kLaneUnits, rows + lane * width, width,
         sums + part.first * width, width, coming});
  }

  /// Weights and gradients of the scores of one part, both of which stand from its first key on.
  template <typename KeptOf>
  void weigh(const Block::Part& part, const KeptOf& kept, float scale, const float* score,
             const float* dweight) {
    const auto factor = V::set1(scale);
    for (int64_t l = part.lane; l < kLanes; l += V::kWidth) {
      const auto shift = V::load(queries.shifts + l), delta = V::load(queries.deltas + l);
      for_each_two(
          0, part.count, [&](int64_t j, auto two) __attribute__((always_inline)) {
            const int64_t at = j * kLanes + l, key = part.first + j;
            const auto w0 = V::exp2(V::fma(V::load(score + at), factor, shift));
            const auto d0 = kept.template of<V>(V::load(dweight + at), key, l);
            auto w1 = V::set1(0.0f), d1 = w1;
            if constexpr (two) {
              w1 = V::exp2(V::fma(V::load(score + at + kLanes), factor, shift));
              d1 = kept.template of<V>(V::load(dweight + at + kLanes), key + 1, l);
            }
            const auto s0 = V::mul(w0, V::sub(d0, delta)), s1 = V::mul(w1, V::sub(d1, delta));
            Form::store_rows(weights, key, l, kept.template of<V>(w0, key, l),
                             kept.template of<V>(w1, key + two, l), two);
            Form::store_rows(dscores, key, l, s0, s1, two);
            if (!Form::kSameColumns) Form::store_columns(dscore_columns, key, l, s0, s1, two);
          });
    }
  }

  KeyRows<Element> keys, values;
  Element *key_space, *value_space;       // of key_rows: [kKeyTile, units(padded(head_dim))]
  Element *weights, *dscores;             // [kKeyTile, units(kLanes)]
  Element *key_columns, *dscore_columns;  // [units(kKeyTile), padded(head_dim)], [units(kKeyTile), kLanes]
  float *stage, *dstage;                  // scores and gradients of the weights of up to kStage keys
  uint64_t* keep;
};

/// What a block of queries reads of its own.
template <typename T>
void add_rows_of(ComingRows& coming, const Block& block, int64_t batch) {
  for (const auto& rows : {block.p.q, block.p.dout, block.p.result}) {
    coming.template add_queries<T>(rows, block, batch);
  }
}

template <typename V, typename T>
void backward_block(const Problem& p, const Task& task, const Task* next, float* memory, float* dk,
                    float* dv) {
  const int64_t batch = task.batch, kv_head = task.kv_head, width = padded(p.head_dim);
  const Block block(p, kv_head, task.block);
  BackwardTile<V, T> tile(p, memory);
  tile.load_queries(block, batch);
  tile.coming.template add_queries<T>(p.dq, block, batch);
  if (next != nullptr) {
    const Block next_block(p, next->kv_head, next->block);
    add_rows_of<T>(tile.coming, next_block, next->batch);
    add_new_keys<T>(tile.coming, block, task, next_block, *next);
  }
  if (dk != nullptr && task.block == p.blocks() - 1) {
    tile.coming.template add_keys<T>(p.dk, block, batch, 0, p.keys);
    tile.coming.template add_keys<T>(p.dv, block, batch, 0, p.keys);
  }
  for_each_tile(block, [&](int64_t key, int64_t count) {
    tile.load_keys(p, batch, kv_head, key, count);
    tile.scores(block, batch, key, count, 0);
    tile.add_to_queries(block, batch, key, count);
    if (dk != nullptr) tile.add_to_keys(block, key, count, dk + key * width, dv + key * width);
  });
  float scales[kLanes];
  std::fill(scales, scales + kLanes, p.scale);
  block.template store<V, T>(p.dq, batch, tile.dquery, scales);
}

template <typename V, typename T>
void store_sums(const Problem& p, const Rows<std::byte>& target, int64_t batch, int64_t kv_head,
                int64_t begin, int64_t count, const float* sums, float factor) {
  for (int64_t j = 0; j < count; ++j) {
    T* row = target.template row<T>(batch, begin + j, kv_head);
    prefetch<1>(row + kAhead * target.token_stride, p.head_dim);
    simd::scale_row<V>(sums + j * padded(p.head_dim), factor, p.head_dim, row);
  }
}

template <typename V, typename T>
void backward_tile(const Problem& p, int64_t batch, int64_t kv_head, int64_t index, float* memory, float* dk,
                   float* dv) {
  const int64_t begin = index * kKeyTile, end = std::min(p.keys, begin + kKeyTile);
  const int64_t width = padded(p.head_dim);
  BackwardTile<V, T> tile(p, memory);
  tile.load_keys(p, batch, kv_head, begin, end - begin);
  std::fill(dk, dk + (end - begin) * width, 0.0f);
  std::fill(dv, dv + (end - begin) * width, 0.0f);
  const int64_t first = p.causal ? begin : std::max<int64_t>(0, begin - p.window + 1);
  for (int64_t b = first * p.group / kLanes; b < p.blocks(); ++b) {
    const Block block(p, kv_head, b);
    const int64_t key = std::max(begin, block.key_begin);
    const int64_t count = std::min(end, block.key_end) - key;
    if (block.key_begin >= end) break;
    if (count <= 0) continue;
    tile.load_queries(block, batch);
    tile.coming = {};
    if (b + 1 < p.blocks()) add_rows_of<T>(tile.coming, Block(p, kv_head, b + 1), batch);
    tile.scores(block, batch, key, count, key - begin);
    tile.add_to_keys(block, key, count, dk + (key - begin) * width, dv + (key - begin) * width);
  }
  store_sums<V, T>(p, p.dk, batch, kv_head, begin, end - begin, dk, p.scale);
  store_sums<V, T>(p, p.dv, batch, kv_head, begin, end - begin, dv, 1.0f);
}

}  // namespace
}  // namespace aleph::kernels::attention
