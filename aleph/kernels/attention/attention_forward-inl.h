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

  ForwardTile(const Problem& p, float* memory) : softmax(p.scale * kLog2E) {
    Scratch scratch(memory);
    const int64_t width = padded(p.head_dim);
    query = scratch.take<Element>(padded(Form::units(p.head_dim)) * kLanes);
    result = scratch.take<float>(width * kLanes);
    scores = scratch.take<float>(kKeyTile * kLanes);
    weights = Form::kSameColumns ? reinterpret_cast<Element*>(scores)
                                 : scratch.take<Element>(Form::units(kKeyTile) * kLanes);
    key_space = scratch.take<Element>(kKeyTile * Form::units(width));
    values = scratch.take<Element>(Form::units(kKeyTile) * width);
    keep = scratch.take<uint64_t>(kKeyTile);
  }

  void load_queries(const Block& block, int64_t batch) {
    Element* rows = Form::kSameColumns ? key_space : nullptr;  // of no use beyond the call
    Form::load_block(block, block.p.q, batch, query, rows, key_space);
  }

  /// Adds what keys [key, key + count) give to the result.
  void add(const Block& block, int64_t batch, int64_t key, int64_t count) {
    const Problem& p = block.p;
    const int64_t units = Form::units(p.head_dim);
    const KeyRows<Element> keys = Form::key_rows(p, p.k, batch, block.kv_head, key, count, key_space);
    Form::load_key_columns(p, p.v, batch, block.kv_head, key, count, values);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      product<V, Layout::kRows, Into::kSet, Element>(
          part.count, kLanes - part.lane,
          {units, keys.data + part.first * keys.stride, keys.stride, query + part.lane, kLanes,
           scores + part.first * kLanes + part.lane, kLanes, coming});
    });
    block.mask(key, count, scores);
    softmax.step(block, key, count, draw_kept(block, batch, key, count, keep), scores, weights);
    if (key > block.key_begin) shrink(block);
    block.for_each_part(key, count, [&](const Block::Part& part) {
      add_keys<V, Form>(block, part, key, weights, values, result, coming);
    });
  }

  OnlineSoftmax<V, Form> softmax;
  ComingRows coming;
  float *result, *scores;  // [kLanes, padded(head_dim)], [kKeyTile, kLanes]

 private:
  void shrink(const Block& block) {
    const int64_t width = padded(block.p.head_dim);
    for (int64_t l = 0; l < block.count; ++l) {
      float* row = result + l * width;
      for (int64_t d = 0; d < block.p.head_dim; d += V::kWidth) {
        V::store(row + d, V::mul(V::load(row + d), V::set1(softmax.rescale[l])));
      }
    }
  }

  Element *query, *weights, *key_space, *values;
  uint64_t* keep;
};

template <typename V, typename T>
void forward_block(const Problem& p, const Task& task, const Task* next, float* memory) {
  const int64_t batch = task.batch;
  const Block block(p, task.kv_head, task.block);
  ForwardTile<V, T> tile(p, memory);
  tile.load_queries(block, batch);
  tile.coming.template add_queries<T>(p.out, block, batch);
  if (next != nullptr) {
    const Block next_block(p, next->kv_head, next->block);
    tile.coming.template add_queries<T>(p.q, next_block, next->batch);
    add_new_keys<T>(tile.coming, block, task, next_block, *next);
  }
  for_each_tile(block, [&](int64_t key, int64_t count) { tile.add(block, batch, key, count); });
  float inverse[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) inverse[l] = 1.0f / tile.softmax.sums[l];
  block.template store<V, T>(p.out, batch, tile.result, inverse);
  if (p.log_sums == nullptr) return;
  block.for_each_row([&](int64_t l, int64_t token, int64_t head) {
    const double top = double{tile.softmax.maxima[l]} * p.scale;
    const double log_sum = top + std::log(double{tile.softmax.sums[l]});
    p.log_sums[block.statistic(batch, token, head)] = static_cast<float>(log_sum);
  });
}

}  // namespace
}  // namespace aleph::kernels::attention
