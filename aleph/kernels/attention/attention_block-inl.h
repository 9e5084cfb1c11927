// A block of query rows: which keys they see, and their rows in and out of the tensors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "aleph/kernels/attention/attention_tiles.h"
#include "aleph/kernels/simd/prefetch.h"
#include "aleph/kernels/simd/rows-inl.h"
#include "aleph/kernels/simd/transpose_block.h"

namespace aleph::kernels::attention {
namespace {

inline constexpr float kMasked = -std::numeric_limits<float>::infinity();

/// Hands out pieces of scratch, each aligned to a cache line.
class Scratch {
 public:
  explicit Scratch(float* data) : next_(data) {}
  template <typename Element>
  Element* take(int64_t n) {
    auto* piece = reinterpret_cast<Element*>(next_);
    next_ += padded((n * static_cast<int64_t>(sizeof(Element)) + 3) / 4);
    return piece;
  }

 private:
  float* next_;
};

/// Rows of one head lie far apart: they are asked for this many rows before they are read.
inline constexpr int64_t kAhead = 12;

using simd::prefetch;

template <typename V, typename T>
inline void widen(const T* x, int64_t n, float* y) {
  simd::for_row<V>(n, [=]<typename W>(int64_t j) { W::store(y + j, W::load(x + j)); });
}

/// y [16][ldy] = x [16][ldx] transposed; words of any kind.
template <typename Word>
inline void transpose_words(const Word* x, int64_t ldx, Word* y, int64_t ldy) {
  static_assert(sizeof(Word) == 4);
  simd::Lanes rows[simd::kSide];
  for (int64_t i = 0; i < simd::kSide; ++i) std::memcpy(&rows[i], x + i * ldx, sizeof(rows[i]));
  simd::transpose_block(rows);
  for (int64_t i = 0; i < simd::kSide; ++i) std::memcpy(y + i * ldy, &rows[i], sizeof(rows[i]));
}

/// y [padded(columns)][kLanes] = x [kLanes][padded(columns)] transposed.
template <typename Word>
inline void transpose_lanes(const Word* x, int64_t columns, Word* y) {
  for (int64_t d = 0; d < columns; d += simd::kSide) {
    for (int64_t l = 0; l < kLanes; l += simd::kSide) {
      transpose_words(x + l * padded(columns) + d, padded(columns), y + d * kLanes + l, kLanes);
    }
  }
}

template <typename V>
concept HasPairs = requires {
  typename V::PairReg;
};

/// Which query rows a block holds, and which keys they see.
struct Block {
  Block(const Problem& problem, int64_t kv_head_index, int64_t index)
      : p(problem), kv_head(kv_head_index), start(index * kLanes) {
    count = std::min(kLanes, p.rows() - start);
    const int64_t first = p.first + start / p.group, last = p.first + (start + count - 1) / p.group;
    key_begin = std::max<int64_t>(0, first - p.window + 1);
    key_end = std::min(p.keys, p.causal ? last + 1 : last + p.window);
  }
  /// Calls `body(lane, query, head)` for the rows of the block in order.
  template <typename Body>
  [[gnu::always_inline]] void for_each_row(const Body& body) const {
    int64_t token = start / p.group, member = start % p.group;
    for (int64_t l = 0; l < count; ++l) {
      body(l, token, kv_head * p.group + member);
      if (++member == p.group) member = 0, ++token;
    }
  }
  /// First lane at or after a position.
  int64_t lane_at(int64_t position) const {
    return std::clamp<int64_t>((position - p.first) * p.group - start, 0, kLanes);
  }
  /// Lanes [begin, end) see key j; both grow with j.
  int64_t lanes_begin(int64_t j) const { return lane_at(p.causal ? j : j - p.window + 1); }
  int64_t lanes_end(int64_t j) const { return lane_at(j + p.window); }

  /// scores [key_count, kLanes] of keys from `key` on: those no query sees become minus infinity.
  void mask(int64_t key, int64_t key_count, float* scores) const {
    if (lanes_begin(key + key_count - 1) == 0 && lanes_end(key) >= count) return;
    for (int64_t j = 0; j < key_count; ++j) {
      float* lanes = scores + j * kLanes;
      std::fill(lanes, lanes + lanes_begin(key + j), kMasked);
      std::fill(lanes + lanes_end(key + j), lanes + kLanes, kMasked);
    }
  }

  /// Rounds x [kLanes, padded(head_dim)], lane l times factors[l], to its rows.
  template <typename V, typename T>
  void store(const Rows<std::byte>& rows, int64_t batch, const float* x, const float* factors) const {
    for_each_row([&](int64_t l, int64_t token, int64_t at_head) {
      simd::scale_row<V>(x + l * padded(p.head_dim), factors[l], p.head_dim,
                         rows.template row<T>(batch, token, at_head));
    });
  }
  /// Keys of a tile that the same vectors of lanes see: no lane before `lane` sees any of them.
  struct Part {
    int64_t first, count, lane;
  };
  /// Calls `body(part)` for the parts of keys [key, key + key_count) in order; each begins at an even key of
  /// the tile.
  template <typename Body>
  void for_each_part(int64_t key, int64_t key_count, const Body& body) const {
    const auto lane_of = [&](int64_t j) { return lanes_begin(key + j) / kPad * kPad; };
    for (int64_t first = 0; first < key_count;) {
      int64_t end = first + kPad;
      while (end < key_count && lane_of(end) == 0) end += 2;
      end = std::min(end, key_count);
      body(Part{first, end - first, lane_of(first)});
      first = end;
    }
  }
  int64_t statistic(int64_t batch, int64_t token, int64_t at_head) const {
    return (batch * p.heads + at_head) * p.queries + token;
  }

  const Problem& p;
  int64_t kv_head, start, count = 0, key_begin = 0, key_end = 0;
};

/// Calls `body(key, count)` for the tiles of the keys a block sees.
template <typename Body>
void for_each_tile(const Block& block, const Body& body) {
  for (int64_t key = block.key_begin; key < block.key_end;) {
    const int64_t end = std::min(block.key_end, (key / kKeyTile + 1) * kKeyTile);
    body(key, end - key);
    key = end;
  }
}

}  // namespace
}  // namespace aleph::kernels::attention
