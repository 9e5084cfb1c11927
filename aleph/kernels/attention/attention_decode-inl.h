// Decoding: one query position, keys and values streamed once; vectors run over head_dim.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "aleph/kernels/attention/attention_softmax-inl.h"

namespace aleph::kernels::attention {
namespace {

/// The last, partly filled vector of a row, 0 beyond its n - d elements.
template <typename V, typename T>
inline typename V::Reg load_part(const T* x, int64_t d, int64_t n) {
  alignas(64) float part[V::kWidth] = {};
  for (int64_t i = d; i < n; ++i) part[i - d] = simd::load(x + i);
  return V::load(part);
}

/// Calls `body(d, load)` for the vectors of a row of head_dim elements.
template <typename V, typename Body>
[[gnu::always_inline]] inline void for_each_vector(int64_t head_dim, const Body& body) {
  int64_t d = 0;
  for (; d + V::kWidth <= head_dim; d += V::kWidth) body(d, [d](const auto* x) { return V::load(x + d); });
  if (d < head_dim) body(d, [d, head_dim](const auto* x) { return load_part<V>(x, d, head_dim); });
}

/// Rows j ... j + 3 of keys or values; the last one again where there are fewer.
template <typename T>
struct FourRows {
  FourRows(const T* x, int64_t stride, int64_t j, int64_t count) {
    for (int64_t i = 0; i < 4; ++i) row[i] = x + std::min(j + i, count - 1) * stride;
  }
  const T* row[4];
};

/// scores[r * kDecodeTile + j] = query r . key j for R queries [R, width].
template <typename V, typename T, int R>
void decode_scores(const Problem& p, const T* keys, int64_t stride, int64_t count, const float* queries,
                   float* scores) {
  const int64_t width = padded(p.head_dim);
  for (int64_t j = 0; j < count; j += 4) {
    const FourRows<T> key(keys, stride, j, count);
    typename V::Reg sums[R][4];
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 4; ++i) sums[r][i] = V::set1(0.0f);
    }
    for_each_vector<V>(
        p.head_dim, [&](int64_t d, auto load) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
            const auto x = load(key.row[i]);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) sums[r][i] = V::fma(V::load(queries + r * width + d), x, sums[r][i]);
          }
        });
    for (int r = 0; r < R; ++r) V::sum4(sums[r], scores + r * kDecodeTile + j);
  }
}

/// results [R, width] += weights [R, kDecodeTile] values; weights are 0 from count to the next multiple of 4.
template <typename V, typename T, int R>
void decode_values(const Problem& p, const T* values, int64_t stride, int64_t count, const float* weights,
                   float* results) {
  const int64_t width = padded(p.head_dim);
  for (int64_t j = 0; j < count; j += 4) {
    const FourRows<T> value(values, stride, j, count);
    typename V::Reg factors[R][4];
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 4; ++i) factors[r][i] = V::set1(weights[r * kDecodeTile + j + i]);
    }
    for_each_vector<V>(
        p.head_dim, [&](int64_t d, auto load) __attribute__((always_inline)) {
          typename V::Reg sums[R];
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) sums[r] = V::load(results + r * width + d);
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
            const auto x = load(value.row[i]);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) sums[r] = V::fma(factors[r][i], x, sums[r]);
          }
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) V::store(results + r * width + d, sums[r]);
        });
  }
}

/// scores [count, filled up to vectors] become exp2(score - maximum); results shrink with the maximum.
template <typename V>
void decode_softmax(int64_t count, int64_t width, float* scores, float* maximum, float* sum, float* results) {
  const int64_t filled = padded(count);
  std::fill(scores + count, scores + filled, kMasked);
  alignas(64) float tops[V::kWidth];
  auto top = V::set1(*maximum);
  for (int64_t j = 0; j < filled; j += V::kWidth) top = V::max(top, V::load(scores + j));
  V::store(tops, top);
  const auto before = V::set1(*maximum);
  *maximum = *std::max_element(tops, tops + V::kWidth);
  top = V::set1(*maximum);
  auto total = V::set1(0.0f);
  for (int64_t j = 0; j < filled; j += V::kWidth) {
    const auto weight = V::exp2(V::sub(V::load(scores + j), top));
    V::store(scores + j, weight);
    total = V::add(total, weight);
  }
  const auto shrink = V::exp2(V::sub(before, top));
  V::store(tops, shrink);
  *sum = *sum * tops[0] + V::sum(total);
  if (tops[0] == 1.0f) return;
  for (int64_t d = 0; d < width; d += V::kWidth) {
    V::store(results + d, V::mul(V::load(results + d), shrink));
  }
}

/// Calls body<R>(row) over rows in steps of R = 4, 2, 1.
template <typename Body>
inline void for_row_groups(int64_t rows, const Body& body) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) body(std::integral_constant<int, 4>{}, r);
  if (r + 2 <= rows) {
    body(std::integral_constant<int, 2>{}, r);
    r += 2;
  }
  if (r < rows) body(std::integral_constant<int, 1>{}, r);
}

template <typename V, typename T>
void decode(const Problem& p, int64_t kv_head, int64_t begin, int64_t end, float* memory, float* partials,
            int64_t partial_stride) {
  const int64_t width = padded(p.head_dim);
  Scratch scratch(memory);
  float* queries = scratch.take<float>(p.group * width);
  float* results = scratch.take<float>(p.group * width);
  float* scores = scratch.take<float>(p.group * kDecodeTile);
  float* maxima = scratch.take<float>(p.group);
  float* sums = scratch.take<float>(p.group);
  std::fill(queries, queries + p.group * width, 0.0f);
  std::fill(results, results + p.group * width, 0.0f);
  std::fill(maxima, maxima + p.group, kLowest);
  std::fill(sums, sums + p.group, 0.0f);
  for (int64_t r = 0; r < p.group; ++r) {
    float* query = queries + r * width;
    widen<V>(p.q.template row<T>(0, 0, kv_head * p.group + r), p.head_dim, query);
    for (int64_t d = 0; d < p.head_dim; ++d) query[d] *= p.scale * kLog2E;
  }
  for (int64_t key = begin; key < end; key += kDecodeTile) {
    const int64_t count = std::min(kDecodeTile, end - key);
    const T* keys = p.k.template row<T>(0, key, kv_head);
    const T* values = p.v.template row<T>(0, key, kv_head);
    for_row_groups(p.group, [&](auto rows, int64_t r) {
      decode_scores<V, T, rows.value>(p, keys, p.k.token_stride, count, queries + r * width,
                                      scores + r * kDecodeTile);
    });
    for (int64_t r = 0; r < p.group; ++r) {
      decode_softmax<V>(count, width, scores + r * kDecodeTile, maxima + r, sums + r, results + r * width);
    }
    for_row_groups(p.group, [&](auto rows, int64_t r) {
      decode_values<V, T, rows.value>(p, values, p.v.token_stride, count, scores + r * kDecodeTile,
                                      results + r * width);
    });
  }
  for (int64_t r = 0; r < p.group; ++r) {
    float* partial = partials + r * partial_stride;
    partial[0] = maxima[r];
    partial[1] = sums[r];
    std::copy(results + r * width, results + (r + 1) * width, partial + kPad);
  }
}

template <typename V, typename T>
void decode_merge(const Problem& p, int64_t head, const float* partials, int64_t splits, float* total) {
  const int64_t stride = decode_partial(p.head_dim);
  float maximum = kLowest, sum = 0.0f;
  for (int64_t s = 0; s < splits; ++s) maximum = std::max(maximum, partials[s * stride]);
  std::fill(total, total + padded(p.head_dim), 0.0f);
  for (int64_t s = 0; s < splits; ++s) {
    const float* partial = partials + s * stride;
    const float factor = std::exp2(partial[0] - maximum);
    sum += factor * partial[1];
    for (int64_t d = 0; d < p.head_dim; ++d) total[d] += factor * partial[kPad + d];
  }
  T* row = p.out.template row<T>(0, 0, head);
  for (int64_t d = 0; d < p.head_dim; ++d) simd::store(row + d, total[d] / sum);
}

}  // namespace
}  // namespace aleph::kernels::attention
