// Logits for one vector type V (simd/vector.h). Included once by each file that compiles for an instruction
// set, after its target pragma; everything here has internal linkage.
#pragma once

#include <algorithm>
#include <cstdint>

#include "aleph/kernels/cross_entropy/logits.h"
#include "aleph/kernels/simd/prefetch.h"
#include "aleph/kernels/simd/rows-inl.h"
#include "aleph/kernels/simd/vector.h"

namespace aleph::kernels::logits {
namespace {

template <typename V>
float largest(const float* x, int64_t n, float before) {
  constexpr int64_t kStep = 4 * V::kWidth;
  typename V::Reg tops[4];
  for (auto& top : tops) top = V::set1(before);
  int64_t j = 0;
  for (; j + kStep <= n; j += kStep) {
    for (int i = 0; i < 4; ++i) tops[i] = V::max(tops[i], V::load(x + j + i * V::kWidth));
  }
  float all[V::kWidth];
  V::store(all, V::max(V::max(tops[0], tops[1]), V::max(tops[2], tops[3])));
  for (; j < n; ++j) all[0] = std::max(all[0], x[j]);
  return *std::max_element(all, all + V::kWidth);
}

template <typename V, bool kKeep>
float exponentials_of(const float* x, int64_t n, float largest, float* y, const Target& coming) {
  constexpr float kLog2E = 1.44269504f;
  const auto exponential = [=](typename V::Reg at) {
    return V::exp2(V::mul(V::sub(at, V::set1(largest)), V::set1(kLog2E)));
  };
  const int64_t rest = n % V::kWidth;
  auto sums = V::set1(0.0f);
  for (int64_t j = 0; j < n - rest; j += V::kWidth) {
    simd::prefetch(x + j + kChunk, V::kWidth);
    simd::prefetch<1>(coming.data + j * coming.size, V::kWidth * coming.size);
    const auto e = exponential(V::load(x + j));
    if constexpr (kKeep) V::store(y + j, e);
    sums = V::add(sums, e);
  }
  float sum = V::sum(sums);
  if (rest == 0) return sum;
  const simd::FirstLanes<V> lanes{rest};
  float last[V::kWidth];
  V::store(last, exponential(lanes.load(x + n - rest)));
  for (int64_t i = 0; i < rest; ++i) sum += last[i];
  if constexpr (kKeep) std::copy(last, last + rest, y + n - rest);
  return sum;
}

template <typename V>
float exponentials(const float* x, int64_t n, float largest, float* y, const Target& coming) {
  return y == nullptr ? exponentials_of<V, false>(x, n, largest, y, coming)
                      : exponentials_of<V, true>(x, n, largest, y, coming);
}

template <typename V>
void scale(const float* x, float factor, DType dtype, std::byte* y, int64_t n) {
  dispatch_float(dtype, [=]<typename T>(T) { simd::scale_row<V>(x, factor, n, reinterpret_cast<T*>(y)); });
}

template <typename V>
constexpr Kernels kKernels = {.largest = largest<V>, .exponentials = exponentials<V>, .scale = scale<V>};

}  // namespace
}  // namespace aleph::kernels::logits
