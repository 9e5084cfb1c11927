// Products of small matrices for one vector type V, C [m, n] (+)= A [m, k] B [k, n], n in vectors. An element
// of A or B is one fp32 number, or a Pair of bf16 numbers that are neighbours along k.
#pragma once

#include <algorithm>
#include <cstdint>

#include "aleph/kernels/attention/attention_coming-inl.h"
#include "aleph/kernels/attention/attention_tiles.h"

namespace aleph::kernels::attention {
namespace {

enum class Layout { kRows, kColumns };  // A stands as [m, k], or as [k, m]
enum class Into { kSet, kAdd };         // C = A B, or C += A B

template <typename Element>
struct Product {
  int64_t k = 0;  // in elements
  const Element* a = nullptr;
  int64_t lda = 0;
  const Element* b = nullptr;
  int64_t ldb = 0;
  float* c = nullptr;
  int64_t ldc = 0;
  ComingRows& coming;  // asked for meanwhile
};

template <typename V, int R, int C, Layout kLayout, Into kInto, typename Element>
[[gnu::noinline]] void product_registers(const Product<Element>& x) {
  typename V::Reg sums[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      sums[r][j] = kInto == Into::kAdd ? V::load(x.c + r * x.ldc + j * V::kWidth) : V::set1(0.0f);
    }
  }
  const Element *a = x.a, *b = x.b;
  const int64_t lda = x.lda, ldb = x.ldb;
  for (int64_t i = x.k; i > 0; --i) {
    decltype(V::load(b)) row[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) row[j] = V::load(b + j * V::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto factor = V::set1(kLayout == Layout::kColumns ? a[r] : a[r * lda]);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sums[r][j] = V::fma(factor, row[j], sums[r][j]);
    }
    a += kLayout == Layout::kColumns ? lda : 1;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) V::store(x.c + r * x.ldc + j * V::kWidth, sums[r][j]);
  }
}

template <typename V, int R, int C, Layout kLayout, Into kInto, typename Element>
inline void product_rest(int64_t m, const Product<Element>& x) {
  if constexpr (R > 0) {
    if (m == R) return product_registers<V, R, C, kLayout, kInto>(x);
    product_rest<V, R - 1, C, kLayout, kInto>(m, x);
  }
}

template <typename V, int C, Layout kLayout, Into kInto, typename Element>
void product_columns(int64_t m, Product<Element> x) {
  for (; m >= V::kRows; m -= V::kRows) {
    x.coming.ask();
    product_registers<V, V::kRows, C, kLayout, kInto>(x);
    x.a += kLayout == Layout::kColumns ? V::kRows : V::kRows * x.lda;
    x.c += V::kRows * x.ldc;
  }
  product_rest<V, V::kRows - 1, C, kLayout, kInto>(m, x);
}

template <typename V, int C, Layout kLayout, Into kInto, typename Element>
inline void product_last(int64_t vectors, int64_t m, const Product<Element>& x) {
  if constexpr (C > 0) {
    if (vectors == C) return product_columns<V, C, kLayout, kInto>(m, x);
    product_last<V, C - 1, kLayout, kInto>(vectors, m, x);
  }
}

template <typename V, Layout kLayout, Into kInto, typename Element>
void product(int64_t m, int64_t n, Product<Element> x) {
  int64_t vectors = (n + V::kWidth - 1) / V::kWidth;
  constexpr int64_t kStep = V::kColumns * V::kWidth;
  for (; vectors >= V::kColumns; vectors -= V::kColumns, x.b += kStep, x.c += kStep) {
    product_columns<V, V::kColumns, kLayout, kInto>(m, x);
  }
  product_last<V, V::kColumns - 1, kLayout, kInto>(vectors, m, x);
}

/// sums [lanes, padded(head_dim)] = or += factors [keys, lanes]^T columns [keys, padded(head_dim)] over the
/// keys of one part of the tile that begins at `key`. The first keys that a block sees, all its lanes see:
/// they set the sums.
template <typename V, typename Form, typename Element>
void add_keys(const Block& block, const Block::Part& part, int64_t key, const Element* factors,
              const Element* columns, float* sums, ComingRows& coming) {
  const int64_t first = Form::units(part.first), width = padded(block.p.head_dim);
  const int64_t lanes = std::max<int64_t>(0, block.count - part.lane);
  const Product<Element> x = {Form::units(part.count),
                              factors + first * kLanes + part.lane,
                              kLanes,
                              columns + first * width,
                              width,
                              sums + part.lane * width,
                              width,
                              coming};
  if (key + part.first == block.key_begin) {
    product<V, Layout::kColumns, Into::kSet>(lanes, block.p.head_dim, x);
  } else {
    product<V, Layout::kColumns, Into::kAdd>(lanes, block.p.head_dim, x);
  }
}

}  // namespace
}  // namespace aleph::kernels::attention
