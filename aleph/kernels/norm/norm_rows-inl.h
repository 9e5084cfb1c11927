// The norms of rows for one vector type V (simd/vector.h). Included once by each file that compiles for an
// instruction set, after its target pragma; everything here has internal linkage.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "aleph/kernels/norm/norm_rows.h"
#include "aleph/kernels/simd/prefetch.h"
#include "aleph/kernels/simd/rows-inl.h"
#include "aleph/kernels/simd/vector.h"

namespace aleph::kernels::norm {
namespace {

enum class Norm : uint8_t { kLayer, kRms };

template <typename T>
const T* row_of(const std::byte* data, int64_t row, int64_t n) {
  return reinterpret_cast<const T*>(data) + row * n;
}
template <typename T>
T* row_of(std::byte* data, int64_t row, int64_t n) {
  return reinterpret_cast<T*>(data) + row * n;
}

/// The first pass asks for what it reads of the next row, the last for what it will write there, line by
/// line: a whole row at once would have to wait for the lines under way. wide [n]: where the row stands in
/// fp32 after its first pass, unless it is stored so.
template <typename V, typename T, Norm kNorm>
void forward_row(const Forward& job, int64_t row, float* wide) {
  const int64_t n = job.n;
  const auto* x = row_of<T>(job.x, row, n);
  T* y = row_of<T>(job.y, row, n);
  const float *weight = job.weight, *bias = job.bias, *in = wide;
  if constexpr (std::is_same_v<T, float>) in = x;
  const auto first_load = [=]<typename W>(W, int64_t j) {
    simd::prefetch(x + n + j, 1);
    const auto number = W::load(x + j);
    if constexpr (!std::is_same_v<T, float>) W::store(wide + j, number);
    return number;
  };
  float mean = 0, square = 0;
  if constexpr (kNorm == Norm::kLayer) {
    mean = simd::sum_row<V>(n, [=]<typename W>(int64_t j) { return first_load(W{}, j); }) /
           static_cast<float>(n);
    job.mean[row] = mean;
    square = simd::sum_row<V>(n, [=]<typename W>(int64_t j) {
      const auto centered = W::sub(W::load(in + j), W::set1(mean));
      return W::mul(centered, centered);
    });
  } else {
    square = simd::sum_row<V>(n, [=]<typename W>(int64_t j) {
      const auto number = first_load(W{}, j);
      return W::mul(number, number);
    });
  }
  const float rstd = 1.0f / std::sqrt(square / static_cast<float>(n) + job.epsilon);
  job.rstd[row] = rstd;
  const auto normal = [=]<typename W>(W, int64_t j) {
    simd::prefetch<1>(y + n + j, 1);
    return W::mul(W::sub(W::load(in + j), W::set1(mean)), W::set1(rstd));
  };
  if (bias == nullptr)
    return simd::for_row<V>(
        n, [=]<typename W>(int64_t j) { W::store(y + j, W::mul(normal(W{}, j), W::load(weight + j))); });
  simd::for_row<V>(n, [=]<typename W>(int64_t j) {
    W::store(y + j, W::fma(normal(W{}, j), W::load(weight + j), W::load(bias + j)));
  });
}

/// Sums over a row that its gradient needs, g = dy weight being the gradient of the normal row.
struct RowSums {
  float g = 0;         // sum g
  float g_normal = 0;  // sum g normal
};

/// Adds dy normal to dweight and, with kBias, dy to dbias.
template <typename V, bool kBias, typename T>
RowSums add_row(const T* x, const T* dy, const float* weight, float mean, float rstd, int64_t n,
                float* dweight, float* dbias) {
  constexpr int kChains = 2;
  typename V::Reg g[kChains] = {V::set1(0), V::set1(0)}, g_normal[kChains] = {V::set1(0), V::set1(0)};
  const auto add = [=]<typename W>(W, int64_t j, typename W::Reg& sum, typename W::Reg& product) {
    simd::prefetch(x + n + j, 1);
    simd::prefetch(dy + n + j, 1);
    const auto upstream = W::load(dy + j), at = W::mul(upstream, W::load(weight + j));
    const auto normal = W::mul(W::sub(W::load(x + j), W::set1(mean)), W::set1(rstd));
    W::store(dweight + j, W::fma(upstream, normal, W::load(dweight + j)));
    if constexpr (kBias) W::store(dbias + j, W::add(W::load(dbias + j), upstream));
    sum = W::add(sum, at);
    product = W::fma(at, normal, product);
  };
  int64_t j = 0;
  for (; j + kChains * V::kWidth <= n; j += kChains * V::kWidth) {
    for (int i = 0; i < kChains; ++i) add(V{}, j + i * V::kWidth, g[i], g_normal[i]);
  }
  for (; j + V::kWidth <= n; j += V::kWidth) add(V{}, j, g[0], g_normal[0]);
  RowSums sums{V::sum(V::add(g[0], g[1])), V::sum(V::add(g_normal[0], g_normal[1]))};
  for (; j < n; ++j) add(typename V::Scalar{}, j, sums.g, sums.g_normal);
  return sums;
}

/// dx of a row; adds the row to dweight and, with kBias, to dbias.
template <typename V, typename T, Norm kNorm, bool kBias>
void backward_row(const Backward& job, int64_t row, float* dweight, float* dbias) {
  const int64_t n = job.n;
  const auto *x = row_of<T>(job.x, row, n), *dy = row_of<T>(job.dy, row, n);
  const float* weight = job.weight;
  const float mean = kNorm == Norm::kLayer ? job.mean[row] : 0.0f, rstd = job.rstd[row];
  const RowSums sums = add_row<V, kBias>(x, dy, weight, mean, rstd, n, dweight, dbias);
  const float mean_g = kNorm == Norm::kLayer ? sums.g / static_cast<float>(n) : 0.0f;
  const float mean_g_normal = sums.g_normal / static_cast<float>(n);
  T* dx = row_of<T>(job.dx, row, n);
  simd::for_row<V>(n, [=]<typename W>(int64_t j) {
    const auto g = W::mul(W::load(dy + j), W::load(weight + j));
    const auto normal = W::mul(W::sub(W::load(x + j), W::set1(mean)), W::set1(rstd));
    const auto inner = W::fma(normal, W::set1(-mean_g_normal), W::sub(g, W::set1(mean_g)));
    W::store(dx + j, W::mul(W::set1(rstd), inner));
  });
}

template <typename V>
void forward(const Forward& job, int64_t begin, int64_t end, float* wide) {
  dispatch_float(job.dtype, [&]<typename T>(T) {
    const auto row = job.mean == nullptr ? forward_row<V, T, Norm::kRms> : forward_row<V, T, Norm::kLayer>;
    for (int64_t i = begin; i < end; ++i) row(job, i, wide);
  });
}

template <typename V, typename T, Norm kNorm>
auto backward_row_of(bool bias) {
  return bias ? backward_row<V, T, kNorm, true> : backward_row<V, T, kNorm, false>;
}

template <typename V>
void backward(const Backward& job, int64_t begin, int64_t end, float* dweight, float* dbias) {
  dispatch_float(job.dtype, [&]<typename T>(T) {
    const bool bias = dbias != nullptr;
    const auto row = job.mean == nullptr ? backward_row_of<V, T, Norm::kRms>(bias)
                                         : backward_row_of<V, T, Norm::kLayer>(bias);
    for (int64_t i = begin; i < end; ++i) row(job, i, dweight, dbias);
  });
}

template <typename V>
constexpr Kernels kKernels = {.forward = forward<V>, .backward = backward<V>};

}  // namespace
}  // namespace aleph::kernels::norm
