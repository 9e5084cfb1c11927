// The norms of rows for one vector type V (simd/vector.h). Included once by each file that compiles for an
// instruction set, after its target pragma; everything here has internal linkage.
#pragma once

#include <cmath>
#include <cstdint>

#include "aleph/kernels/norm/norm_rows.h"
#include "aleph/kernels/simd/prefetch.h"
#include "aleph/kernels/simd/rows-inl.h"
#include "aleph/kernels/simd/store_row.h"
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

template <typename V, typename T, Norm kNorm>
void forward_row(const Forward& job, CpuLevel level, int64_t row) {
  const int64_t n = job.n;
  const auto *x = row_of<T>(job.x, row, n), *weight = row_of<T>(job.weight, 0, n);
  const T* bias = job.bias == nullptr ? nullptr : row_of<T>(job.bias, 0, n);
  T* y = row_of<T>(job.y, row, n);
  simd::prefetch(x + n, n);
  simd::prefetch<1>(y + n, n);
  float mean = 0;
  if constexpr (kNorm == Norm::kLayer) {
    mean = simd::sum_row<V>(n, [=]<typename W>(int64_t j) { return W::load(x + j); }) / static_cast<float>(n);
    job.mean[row] = mean;
  }
  const float square = simd::sum_row<V>(n, [=]<typename W>(int64_t j) {
    const auto centered = W::sub(W::load(x + j), W::set1(mean));
    return W::mul(centered, centered);
  });
  const float rstd = 1.0f / std::sqrt(square / static_cast<float>(n) + job.epsilon);
  job.rstd[row] = rstd;
  simd::by_blocks(level, y, n, [=](int64_t first, int64_t count, float* out) {
    const T *in = x + first, *w = weight + first, *b = bias + first;
    const auto normal = [=]<typename W>(W, int64_t j) {
      return W::mul(W::sub(W::load(in + j), W::set1(mean)), W::set1(rstd));
    };
    if (bias == nullptr)
      return simd::for_row<V>(
          count, [=]<typename W>(int64_t j) { W::store(out + j, W::mul(normal(W{}, j), W::load(w + j))); });
    simd::for_row<V>(count, [=]<typename W>(int64_t j) {
      W::store(out + j, W::fma(normal(W{}, j), W::load(w + j), W::load(b + j)));
    });
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
void backward_row(const Backward& job, CpuLevel level, int64_t row, float* dweight, float* dbias) {
  const int64_t n = job.n;
  const auto *x = row_of<T>(job.x, row, n), *dy = row_of<T>(job.dy, row, n);
  const float* weight = job.weight;
  const float mean = kNorm == Norm::kLayer ? job.mean[row] : 0.0f, rstd = job.rstd[row];
  simd::prefetch(x + n, n);
  simd::prefetch(dy + n, n);
  const RowSums sums = add_row<V, kBias>(x, dy, weight, mean, rstd, n, dweight, dbias);
  const float mean_g = kNorm == Norm::kLayer ? sums.g / static_cast<float>(n) : 0.0f;
  const float mean_g_normal = sums.g_normal / static_cast<float>(n);
  simd::by_blocks(level, row_of<T>(job.dx, row, n), n, [=](int64_t first, int64_t count, float* out) {
    simd::for_row<V>(count, [=]<typename W>(int64_t j) {
      const auto g = W::mul(W::load(dy + first + j), W::load(weight + first + j));
      const auto normal = W::mul(W::sub(W::load(x + first + j), W::set1(mean)), W::set1(rstd));
      const auto inner = W::fma(normal, W::set1(-mean_g_normal), W::sub(g, W::set1(mean_g)));
      W::store(out + j, W::mul(W::set1(rstd), inner));
    });
  });
}

template <typename V>
void forward(const Forward& job, int64_t begin, int64_t end) {
  dispatch_float(job.dtype, [&]<typename T>(T) {
    const CpuLevel level = cpu_level();
    const auto row = job.mean == nullptr ? forward_row<V, T, Norm::kRms> : forward_row<V, T, Norm::kLayer>;
    for (int64_t i = begin; i < end; ++i) row(job, level, i);
  });
}

template <typename V, typename T, Norm kNorm>
auto backward_row_of(bool bias) {
  return bias ? backward_row<V, T, kNorm, true> : backward_row<V, T, kNorm, false>;
}

template <typename V>
void backward(const Backward& job, int64_t begin, int64_t end, float* dweight, float* dbias) {
  dispatch_float(job.dtype, [&]<typename T>(T) {
    const CpuLevel level = cpu_level();
    const bool bias = dbias != nullptr;
    const auto row = job.mean == nullptr ? backward_row_of<V, T, Norm::kRms>(bias)
                                         : backward_row_of<V, T, Norm::kLayer>(bias);
    for (int64_t i = begin; i < end; ++i) row(job, level, i, dweight, dbias);
  });
}

template <typename V>
constexpr Kernels kKernels = {.forward = forward<V>, .backward = backward<V>};

}  // namespace
}  // namespace aleph::kernels::norm
