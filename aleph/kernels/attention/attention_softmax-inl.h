// Dropout and the softmax of a block's scores, tile by tile.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "aleph/base/philox.h"
#include "aleph/kernels/attention/attention_block-inl.h"
#include "aleph/kernels/attention/attention_operands-inl.h"

namespace aleph::kernels::attention {
namespace {

inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kLowest = -3.0e38f;  // running maximum of a row that has seen no key

// ---- dropout: the draws of a tile as one bit per lane ----

/// keep[j], bit l: lane l keeps key `key` + j. A lane's positions begin anywhere within a block of four
/// words, so bits of four neighbouring rows are shifted together.
inline void draw(const Block& block, int64_t batch, int64_t key, int64_t key_count, uint64_t* keep) {
  const Problem& p = block.p;
  uint64_t counters[kLanes] = {}, lanes_of_shift[4] = {};
  block.for_each_row([&](int64_t l, int64_t token, int64_t head) {
    const auto position = static_cast<uint64_t>(block.statistic(batch, token, head) * p.keys + key);
    counters[l] = position / 4;
    lanes_of_shift[position % 4] |= uint64_t{1} << l;
  });
  uint64_t drawn[kKeyTile + 8];
  for (int64_t row = 0; row < key_count + 3; row += 4) {
    uint32_t words[4][kLanes];
    philox(p.random_key, p.random_step, counters, words);
    for (int64_t r = 0; r < 4; ++r) {
      uint64_t bits = 0;
      for (int64_t l = 0; l < kLanes; ++l) {
        bits |= static_cast<uint64_t>((words[r][l] >> 8) >= p.threshold) << l;
      }
      drawn[row + r] = bits;
    }
    for (uint64_t& counter : counters) ++counter;
  }
  for (int64_t j = 0; j < key_count; ++j) {
    keep[j] = 0;
    for (int64_t shift = 0; shift < 4; ++shift) keep[j] |= drawn[j + shift] & lanes_of_shift[shift];
  }
}
/// What dropout leaves of a tile: bits of `draw` and the factor of those kept; no bits where there is none.
struct Kept {
  template <typename V>
  [[gnu::always_inline]] typename V::Reg of(typename V::Reg x, int64_t j, int64_t l) const {
    return V::keep(V::mul(x, V::set1(factor)), bits[j] >> l);
  }
  const uint64_t* bits = nullptr;
  float factor = 1;
};
struct AllKept {
  template <typename V>
  [[gnu::always_inline]] typename V::Reg of(typename V::Reg x, int64_t, int64_t) const {
    return x;
  }
};

/// Calls `body(kept)`, with AllKept where there is no dropout.
template <typename Body>
[[gnu::always_inline]] inline void with_kept(const Kept& kept, const Body& body) {
  if (kept.bits == nullptr) {
    body(AllKept{});
  } else {
    body(kept);
  }
}

/// Calls `body(j, two)` for keys j, j + 2, ... below end; two: whether there is a key j + 1, as a constant.
template <typename Body>
[[gnu::always_inline]] inline void for_each_two(int64_t begin, int64_t end, const Body& body) {
  int64_t j = begin;
  for (; j + 1 < end; j += 2) body(j, std::true_type{});
  if (j < end) body(j, std::false_type{});
}

inline Kept draw_kept(const Block& block, int64_t batch, int64_t key, int64_t count, uint64_t* space) {
  if (block.p.threshold == 0) return {};
  draw(block, batch, key, count, space);
  return {space, block.p.keep_scale};
}

// ---- softmax ----

/// Softmax over keys that come tile by tile: maxima and sums per lane. Scores are in units of log 2 once they
/// are multiplied by `scale`, which is positive: their differences are, so that the largest weighs exactly 1.
template <typename V, typename Operands>
struct OnlineSoftmax {
  using Element = typename Operands::Element;
  alignas(64) float maxima[kLanes], sums[kLanes], rescale[kLanes];
  float scale;

  explicit OnlineSoftmax(float log2_scale) : scale(log2_scale) {
    std::fill(maxima, maxima + kLanes, kLowest);
    std::fill(sums, sums + kLanes, 0.0f);
  }

  /// weights (which may be the scores) = what is kept of exp2(scale (score - maximum)) for scores [count,
  /// kLanes] of the keys from `key` on; `rescale` is what earlier results shrink by.
  void step(const Block& block, int64_t key, int64_t count, const Kept& kept, const float* scores,
            Element* weights) {
    alignas(64) float before[kLanes];
    std::copy(maxima, maxima + kLanes, before);
    block.for_each_part(key, count, [&](const Block::Part& part) { raise(part, scores); });
    for (int64_t l = 0; l < kLanes; l += V::kWidth) {
      const auto fall = V::sub(V::load(before + l), V::load(maxima + l));
      const auto shrink = V::exp2(V::mul(fall, V::set1(scale)));
      V::store(rescale + l, shrink);
      V::store(sums + l, V::mul(V::load(sums + l), shrink));
    }
    block.for_each_part(key, count, [&](const Block::Part& part) {
      with_kept(kept, [&](const auto& of) { weigh(part, of, scores, weights); });
    });
  }

 private:
  void raise(const Block::Part& part, const float* scores) {
    for (int64_t l = part.lane; l < kLanes; l += V::kWidth) {
      const float* column = scores + part.first * kLanes + l;
      auto top0 = V::load(maxima + l), top1 = top0;
      int64_t j = 0;
      for (; j + 2 <= part.count; j += 2) {
        top0 = V::max(top0, V::load(column + j * kLanes));
        top1 = V::max(top1, V::load(column + (j + 1) * kLanes));
      }
      if (j < part.count) top0 = V::max(top0, V::load(column + j * kLanes));
      V::store(maxima + l, V::max(top0, top1));
    }
  }
  template <typename KeptOf>
  void weigh(const Block::Part& part, const KeptOf& kept, const float* scores, Element* weights) {
    for (int64_t l = part.lane; l < kLanes; l += V::kWidth) {
      const auto factor = V::set1(scale), top = V::load(maxima + l);
      auto sum = V::load(sums + l);
      for_each_two(
          part.first, part.first + part.count, [&](int64_t j, auto two) __attribute__((always_inline)) {
            const float* row = scores + j * kLanes + l;
            const auto first = V::exp2(V::mul(V::sub(V::load(row), top), factor));
            auto second = V::set1(0.0f);
            if constexpr (two) second = V::exp2(V::mul(V::sub(V::load(row + kLanes), top), factor));
            sum = V::add(sum, V::add(first, second));
            Operands::store_columns(weights, j, l, kept.template of<V>(first, j, l),
                                    kept.template of<V>(second, j + two, l), two);
          });
      V::store(sums + l, sum);
    }
  }
};

}  // namespace
}  // namespace aleph::kernels::attention
