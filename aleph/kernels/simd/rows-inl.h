// Loops over a row for a vector type V (vector.h), for the files that compile for an instruction set.
#pragma once

#include <algorithm>
#include <cstdint>

namespace aleph::kernels::simd {
namespace {

/// Calls `body.operator()<W>(j)` for j = 0, kWidth, ... below n, W being V, then Scalar for what is left.
template <typename V, typename Body>
inline void for_row(int64_t n, const Body& body) {
  int64_t j = 0;
  for (; j + V::kWidth <= n; j += V::kWidth) body.template operator()<V>(j);
  for (; j < n; ++j) body.template operator()<typename V::Scalar>(j);
}

/// y [n] = factor x, rounded to T.
template <typename V, typename T>
inline void scale_row(const float* x, float factor, int64_t n, T* y) {
  for_row<V>(n, [=]<typename W>(int64_t j) { W::store(y + j, W::mul(W::load(x + j), W::set1(factor))); });
}

/// All lanes of a vector.
template <typename V>
struct AllLanes {
  template <typename T>
  static typename V::Reg load(const T* x) {
    return V::load(x);
  }
  template <typename T>
  static void store(T* y, typename V::Reg x) {
    V::store(y, x);
  }
};

/// The first `count` lanes of a vector; the others are loaded as 0 and not stored.
template <typename V>
struct FirstLanes {
  template <typename T>
  typename V::Reg load(const T* x) const {
    T all[V::kWidth] = {};
    std::copy(x, x + count, all);
    return V::load(all);
  }
  template <typename T>
  void store(T* y, typename V::Reg x) const {
    T all[V::kWidth];
    V::store(all, x);
    std::copy(all, all + count, y);
  }
  int64_t count;
};

/// Calls `body(lanes, j)` for j = 0, kWidth, ... below n: functions too long to be written for one number,
/// too. An element gets the same bits wherever it stands.
template <typename V, typename Body>
inline void for_lanes(int64_t n, const Body& body) {
  int64_t j = 0;
  for (; j + V::kWidth <= n; j += V::kWidth) body(AllLanes<V>{}, j);
  if (j < n) body(FirstLanes<V>{n - j}, j);
}

/// Sum of the registers `of.operator()<W>(j)` as for_row has them: vectors in four chains of sums, which do
/// not wait for each other.
template <typename V, typename Of>
inline float sum_row(int64_t n, const Of& of) {
  constexpr int kChains = 4;
  typename V::Reg sums[kChains];
  for (auto& sum : sums) sum = V::set1(0.0f);
  int64_t j = 0;
  for (; j + kChains * V::kWidth <= n; j += kChains * V::kWidth) {
    for (int i = 0; i < kChains; ++i) sums[i] = V::add(sums[i], of.template operator()<V>(j + i * V::kWidth));
  }
  for (; j + V::kWidth <= n; j += V::kWidth) sums[0] = V::add(sums[0], of.template operator()<V>(j));
  float sum = V::sum(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
  for (; j < n; ++j) sum += of.template operator()<typename V::Scalar>(j);
  return sum;
}

}  // namespace
}  // namespace aleph::kernels::simd
