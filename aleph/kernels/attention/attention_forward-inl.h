// Forward of a block of queries.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "aleph/kernels/attention/attention_products-inl.h"
#include "aleph/kernels/attention/attention_softmax-inl.h"

namespace aleph::kernels::attention {
namespace {

/// Scratch of a forward tile.
template <typename V, typename T>
struct ForwardTile {
  using Form = Operands<V, T>;
  using Element = typename Form::Element;

  ForwardTile(const Problem& p, float* memory) {
    Scratch scratch(memory);
    const int64_t width = padded(p.head_dim);
    query = scratch.take<Element>(padded(Form::units(p.head_dim)) * kLanes);
    result = scratch.take<float>(width * kLanes);
    scores = scratch.take<float>(kKeyTile * kLanes);
    weights = Form::kSameColumns ? reinterpret_cast<Element*>(scores)
                                 : scratch.take<Element>(Form::units(kKeyTile) * kLanes);
    keys = scratch.take<Element>(kKeyTile * Form::units(width));
    values = scratch.take<Element>(Form::units(kKeyTile) * width);
    keep = scratch.take<uint64_t>(kKeyTile);
    std::fill(result, result + width * kLanes, 0.0f);
  }

  void load_queries(const Block& block, int64_t batch) {
    Element* rows = Form::kSameColumns ? keys : nullptr;  // of no use beyond the call
    Form::load_block(block, block.p.q, batch, query, rows, keys);
  }

  /// Adds what keys [key, key + count) give to the result.
  void add(const Block& block, int64_t batch, int64_t key, int64_t count) {
    const Problem& p = block.p;
    const int64_t units = Form::units(p.head_dim);
    Form::load_keys(p, p.k, batch, block.kv_head, key, count, keys);
    Form::load_key_columns(p, p.v, batch, block.kv_head, key, count, values);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      product<V, Layout::kRows, Into::kScale, Element>(
          part.count, kLanes - part.lane,
          {units, keys + part.first * units, units, query + part.lane, kLanes,
           scores + part.first * kLanes + part.lane, kLanes, p.scale * kLog2E});
    });
    block.mask(key, count, scores);
    softmax.step(block, key, count, draw_kept(block, batch, key, count, keep), scores, weights);
    shrink(p.head_dim);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      const int64_t first = Form::units(part.first);
      product<V, Layout::kColumns, Into::kAdd, Element>(
          p.head_dim, kLanes - part.lane,
          {Form::units(part.count), values + first * p.head_dim, p.head_dim,
           weights + first * kLanes + part.lane, kLanes, result + part.lane, kLanes});
    });
  }

  OnlineSoftmax<V, Form> softmax;
  float *result, *scores;  // [padded(head_dim), kLanes], [kKeyTile, kLanes]

 private:
  void shrink(int64_t head_dim) {
    for (int64_t d = 0; d < head_dim; ++d) {
      for (int64_t l = 0; l < kLanes; l += V::kWidth) {
        float* x = result + d * kLanes + l;
        V::store(x, V::mul(V::load(x), V::load(softmax.rescale + l)));
      }
    }
  }

  Element *query, *weights, *keys, *values;
  uint64_t* keep;
};

template <typename V, typename T>
void forward_block(const Problem& p, int64_t batch, int64_t kv_head, int64_t index, float* memory) {
  const Block block(p, kv_head, index);
  ForwardTile<V, T> tile(p, memory);
  tile.load_queries(block, batch);
  block.template prefetch_rows<T>(p.out, batch);
  for_each_tile(block, [&](int64_t key, int64_t count) { tile.add(block, batch, key, count); });
  float inverse[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) inverse[l] = 1.0f / tile.softmax.sums[l];
  block.template store<V, T>(p.out, batch, tile.result, inverse);
  if (p.log_sums == nullptr) return;
  block.for_each_row([&](int64_t l, int64_t token, int64_t head) {
    const double log_sum =
        tile.softmax.maxima[l] * std::numbers::ln2 + std::log(double{tile.softmax.sums[l]});
    p.log_sums[block.statistic(batch, token, head)] = static_cast<float>(log_sum);
  });
}

}  // namespace
}  // namespace aleph::kernels::attention
