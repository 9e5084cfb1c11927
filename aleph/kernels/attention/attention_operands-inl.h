// How queries, keys, values and weights stand as operands of products: as fp32 numbers, or as pairs of bf16
// numbers that are neighbours along the dimension a product sums over. `units(n)` counts the elements of n
// numbers along that dimension; where n is odd, the last pair has a zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "aleph/kernels/attention/attention_block-inl.h"
#include "aleph/kernels/attention/attention_tiles.h"

namespace aleph::kernels::attention {
namespace {

/// How far the row of the same head kAhead rows of the block later is, in elements.
inline int64_t ahead(const Block& block, const Rows<const std::byte>& rows) {
  return std::max<int64_t>(1, kAhead / block.p.group) * rows.token_stride;
}

/// Rows of keys or values as they are multiplied; stride in elements.
template <typename Element>
struct KeyRows {
  const Element* data = nullptr;
  int64_t stride = 0;
};

/// Operands in fp32.
template <typename V, typename T>
struct Singles {
  using Element = float;
  using Reg = typename V::Reg;
  static constexpr bool kSameColumns = true;  // every array of [rows, columns] serves both as A and as B

  static constexpr int64_t units(int64_t n) { return n; }

  /// Keys or values [begin, begin + count) of a head, each [head_dim]: where they are, or widened in `space`.
  static KeyRows<float> key_rows(const Problem& p, const Rows<const std::byte>& rows, int64_t batch,
                                 int64_t kv_head, int64_t begin, int64_t count, float* space) {
    if constexpr (std::is_same_v<T, float>) {
      return {rows.template row<float>(batch, begin, kv_head), rows.token_stride};
    } else {
      load_key_columns(p, rows, batch, kv_head, begin, count, space);
      return {space, padded(p.head_dim)};
    }
  }
  /// [count, padded(head_dim)]; anything behind the head_dim numbers.
  static void load_key_columns(const Problem& p, const Rows<const std::byte>& rows, int64_t batch,
                               int64_t kv_head, int64_t begin, int64_t count, float* y) {
    for (int64_t j = 0; j < count; ++j) {
      prefetch(rows.template row<T>(batch, begin + j + kAhead, kv_head), p.head_dim);
      widen<V>(rows.template row<T>(batch, begin + j, kv_head), p.head_dim, y + j * padded(p.head_dim));
    }
  }

  /// Rows of a block, zero where there is nothing: lanes [head_dim, kLanes] and rows [kLanes,
  /// padded(head_dim)].
  static void load_block(const Block& block, const Rows<const std::byte>& source, int64_t batch, float* lanes,
                         float* rows, float*) {
    const int64_t head_dim = block.p.head_dim, width = padded(head_dim);
    std::fill(rows + block.count * width, rows + kLanes * width, 0.0f);
    const int64_t distance = ahead(block, source);
    block.for_each_row([&](int64_t l, int64_t token, int64_t head) {
      const T* row = source.template row<T>(batch, token, head);
      prefetch(row + distance, head_dim);
      widen<V>(row, head_dim, rows + l * width);
      std::fill(rows + l * width + head_dim, rows + (l + 1) * width, 0.0f);
    });
    transpose_lanes(rows, head_dim, lanes);
  }

  /// Lanes l ... of keys j and, where `two`, j + 1 into [keys, kLanes].
  static void store_rows(float* y, int64_t j, int64_t l, Reg first, Reg second, bool two) {
    V::store(y + j * kLanes + l, first);
    if (two) V::store(y + (j + 1) * kLanes + l, second);
  }
  static void store_columns(float* y, int64_t j, int64_t l, Reg first, Reg second, bool two) {
    store_rows(y, j, l, first, second, two);
  }
};

/// Operands in pairs of bf16.
template <typename V>
struct Pairs {
  using Element = Pair;
  using Reg = typename V::Reg;
  static constexpr bool kSameColumns = false;

  static constexpr int64_t units(int64_t n) { return (n + 1) / 2; }

  /// Pairs along head_dim, each row [units(head_dim)]: where they are, or copied to `space` where pairs do
  /// not begin at words.
  static KeyRows<Pair> key_rows(const Problem& p, const Rows<const std::byte>& rows, int64_t batch,
                                int64_t kv_head, int64_t begin, int64_t count, Pair* space) {
    const BF16* first = rows.template row<BF16>(batch, begin, kv_head);
    const bool words = p.head_dim % 2 == 0 && reinterpret_cast<uintptr_t>(first) % sizeof(Pair) == 0;
    if (words) return {reinterpret_cast<const Pair*>(first), rows.token_stride / 2};
    for (int64_t j = 0; j < count; ++j) {
      copy(first + j * rows.token_stride, p.head_dim, space + j * units(p.head_dim));
    }
    return {space, units(p.head_dim)};
  }
  /// Pairs along keys: [units(count), padded(head_dim)]; anything behind the head_dim pairs.
  static void load_key_columns(const Problem& p, const Rows<const std::byte>& rows, int64_t batch,
                               int64_t kv_head, int64_t begin, int64_t count, Pair* y) {
    for (int64_t j = 0; j < count; j += 2, y += padded(p.head_dim)) {
      prefetch(rows.template row<BF16>(batch, begin + j + kAhead, kv_head), p.head_dim);
      prefetch(rows.template row<BF16>(batch, begin + j + 1 + kAhead, kv_head), p.head_dim);
      const BF16* first = rows.template row<BF16>(batch, begin + j, kv_head);
      const BF16* second = j + 1 < count ? rows.template row<BF16>(batch, begin + j + 1, kv_head) : nullptr;
      zip(first, second, p.head_dim, y);
    }
  }

  /// Pairs along head_dim in lanes [units(head_dim), kLanes], and along lanes in rows [units(kLanes),
  /// padded(head_dim)] unless null; space: [kLanes, padded(units(head_dim))].
  static void load_block(const Block& block, const Rows<const std::byte>& source, int64_t batch, Pair* lanes,
                         Pair* rows, Pair* space) {
    const int64_t head_dim = block.p.head_dim, width = padded(head_dim), pairs = padded(units(head_dim));
    std::fill(space + block.count * pairs, space + kLanes * pairs, Pair{0});
    const int64_t distance = ahead(block, source);
    block.for_each_row([&](int64_t l, int64_t token, int64_t head) {
      const BF16* row = source.template row<BF16>(batch, token, head);
      prefetch(row + distance, head_dim);
      copy(row, head_dim, space + l * pairs);
      std::fill(space + l * pairs + units(head_dim), space + (l + 1) * pairs, Pair{0});
    });
    transpose_lanes(space, units(head_dim), lanes);
    if (rows == nullptr) return;
    const auto* numbers = reinterpret_cast<const BF16*>(space);
    for (int64_t l = 0; l < kLanes; l += 2) {
      zip(numbers + 2 * l * pairs, numbers + 2 * (l + 1) * pairs, width, rows + l / 2 * width);
    }
  }

  /// Pairs along lanes: [keys, units(kLanes)].
  static void store_rows(Pair* y, int64_t j, int64_t l, Reg first, Reg second, bool) {
    V::store_halves(y + (j * kLanes + l) / 2, y + ((j + 1) * kLanes + l) / 2, V::to_pairs(first, second));
  }
  /// Pairs along keys: [units(keys), kLanes].
  static void store_columns(Pair* y, int64_t j, int64_t l, Reg first, Reg second, bool) {
    V::store_zipped(y + j / 2 * kLanes + l, V::to_pairs(first, second));
  }

 private:
  static void copy(const BF16* x, int64_t n, Pair* y) {
    constexpr int64_t kStep = 32;
    for (; n >= kStep; n -= kStep, x += kStep, y += kStep / 2) std::memcpy(y, x, kStep * sizeof(*x));
    for (; n >= 2; n -= 2, x += 2) *y++ = {x[0].bits | uint32_t{x[1].bits} << 16};
    if (n > 0) *y = {x[0].bits};
  }
  /// y[i] = (first[i], second[i]); 0 where there is no second.
  static void zip(const BF16* first, const BF16* second, int64_t n, Pair* y) {
    if (second == nullptr) {
      for (int64_t i = 0; i < n; ++i) y[i] = {first[i].bits};
      return;
    }
    int64_t i = 0;
    for (; i + V::kWidth <= n; i += V::kWidth) V::store_zipped(y + i, V::load_halves(first + i, second + i));
    for (; i < n; ++i) y[i] = {first[i].bits | uint32_t{second[i].bits} << 16};
  }
};

template <typename V, typename T>
struct OperandsOf {
  using Type = Singles<V, T>;
};
template <HasPairs V>
struct OperandsOf<V, BF16> {
  using Type = Pairs<V>;
};
/// What V multiplies rows of T as.
template <typename V, typename T>
using Operands = typename OperandsOf<V, T>::Type;

}  // namespace
}  // namespace aleph::kernels::attention
