// Elementary functions on fp32 as straight-line code that vectorises. Relative error below 1e-6 (measured in
// simd_test.cc) unless stated; NaN gives NaN.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels::simd {

/// sum of coefficients[i] x^i, from the highest (Horner).
template <typename Isa, int kCount>
[[gnu::always_inline]] inline float polynomial(float x, const float (&coefficients)[kCount]) {
  float sum = coefficients[kCount - 1];
#pragma GCC unroll 16
  for (int i = kCount - 2; i >= 0; --i) sum = Isa::multiply_add(sum, x, coefficients[i]);
  return sum;
}

/// e^x; 0 below -87.3 (no subnormals), infinite above 88.72.
template <typename Isa>
[[gnu::always_inline]] inline float exp(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  float z = x > 88.72f ? 88.72f : x;
  z = z < -87.3f ? -87.3f : z;
  const float shifted = Isa::multiply_add(z, kLog2E, kRound);
  const float n = shifted - kRound;
  float r = Isa::multiply_add(n, -kLn2High, z);
  r = Isa::multiply_add(n, -kLn2Low, r);
  const float tail = polynomial<Isa>(
      r, {4.999999942e-01f, 1.666657742e-01f, 4.166694278e-02f, 8.363130306e-03f, 1.389383228e-03f});
  const float p = 1.0f + Isa::multiply_add(tail, r * r, r);
  const uint32_t power = std::bit_cast<uint32_t>(shifted) << 23;
  const float y = std::bit_cast<float>(std::bit_cast<uint32_t>(p) + power);
  const float above = x > 88.72f ? std::numeric_limits<float>::infinity() : y;
  return x < -87.3f ? 0.0f : above;
}

/// 1 / (1 + e^-x)
template <typename Isa>
[[gnu::always_inline]] inline float sigmoid(float x) {
  return 1.0f / (1.0f + exp<Isa>(-x));
}

template <typename Isa>
[[gnu::always_inline]] inline float tanh(float x) {
  const float a = x < 0.0f ? -x : x;
  const float s = x * x;
  const float small = Isa::multiply_add(
      x * s,
      polynomial<Isa>(
          s, {-3.333332678e-01f, 1.333256600e-01f, -5.382170651e-02f, 2.086579488e-02f, -5.914742946e-03f}),
      x);
  const float large = 1.0f - 2.0f / (1.0f + exp<Isa>(2.0f * a));
  return a < 0.625f ? small : (x < 0.0f ? -large : large);
}

/// Standard normal distribution function, 1/2 erfc(-x / sqrt(2)), accurate in the lower tail too (0 below
/// -13). With t = |x| / sqrt(2) and q = (t - 2) / (t + 2): erfc(t) = e^(-t^2) P(q) / (1 + 2 t), P fitted on
/// t in [0, 10].
template <typename Isa>
[[gnu::always_inline]] inline float normal_cdf(float x) {
  const float a = x < 0.0f ? -x : x;
  const float bounded = a > 14.0f ? 14.0f : a;
  const float t = bounded * 0.707106781f;
  const float inverse = 1.0f / ((t + 2.0f) * Isa::multiply_add(2.0f, t, 1.0f));
  const float q = (t - 2.0f) * Isa::multiply_add(2.0f, t, 1.0f) * inverse;
  const float p = polynomial<Isa>(
      q, {1.276978388e+00f, -9.276399217e-02f, -1.660310924e-01f, 1.640555534e-01f, -5.420765652e-02f,
          -8.061659002e-03f, 8.642636629e-03f, 1.320485782e-03f, -1.241337232e-03f, -4.094511556e-04f});
  // e^(-x^2/2) with x^2 split so that the exponent of the larger part is exact.
  const float high = std::bit_cast<float>(std::bit_cast<uint32_t>(bounded) & 0xfffff000u);
  const float rest = 0.5f * (bounded - high) * (bounded + high);
  const float tail = exp<Isa>(-0.5f * high * high) * exp<Isa>(-rest);
  const float lower = 0.5f * tail * p * (t + 2.0f) * inverse;
  const float y = x < 0.0f ? lower : 1.0f - lower;
  return x == x ? y : x;
}

/// Standard normal density.
template <typename Isa>
[[gnu::always_inline]] inline float normal_density(float x) {
  return 0.39894228f * exp<Isa>(-0.5f * x * x);
}

}  // namespace aleph::kernels::simd
