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

/// e^x for x in [-87.3, 88.72].
template <typename Isa>
[[gnu::always_inline]] inline float bounded_exp(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float shifted = Isa::multiply_add(x, kLog2E, kRound);
  const float n = shifted - kRound;
  float r = Isa::multiply_add(n, -kLn2High, x);
  r = Isa::multiply_add(n, -kLn2Low, r);
  const float tail = polynomial<Isa>(
      r, {4.999999942e-01f, 1.666657742e-01f, 4.166694278e-02f, 8.363130306e-03f, 1.389383228e-03f});
  const float p = 1.0f + Isa::multiply_add(tail, r * r, r);
  const uint32_t power = std::bit_cast<uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + power);
}

/// e^x; 0 below -87.3 (no subnormals), infinite above 88.72.
template <typename Isa>
[[gnu::always_inline]] inline float exp(float x) {
  float bounded = x > 88.72f ? 88.72f : x;
  bounded = bounded < -87.3f ? -87.3f : bounded;
  const float y = bounded_exp<Isa>(bounded);
  const float above = x > 88.72f ? std::numeric_limits<float>::infinity() : y;
  return x < -87.3f ? 0.0f : above;
}

/// e^x for x <= 0; 0 below -87.3.
template <typename Isa>
[[gnu::always_inline]] inline float exp_of_negative(float x) {
  const float y = bounded_exp<Isa>(x < -87.3f ? -87.3f : x);
  return x < -87.3f ? 0.0f : y;
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

/// Phi(x), the standard normal distribution function, and phi(x), its density.
struct Normal {
  float distribution, density;
};

/// Phi is accurate in the lower tail too (0 below -13): with a = |x| and u = 1 / (1 + 0.35 a),
/// Phi(-a) = e^(-a^2 / 2) u P(u), P fitted on a in [0, 13.5] to 4e-8. What squaring a rounds away is put
/// back, as it is multiplied by a^2 in the exponential.
template <typename Isa>
[[gnu::always_inline]] inline Normal normal(float x) {
  const float magnitude = std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0x7fffffffu);
  const float a = magnitude > 13.0f ? 13.0f : magnitude;
  const float u = 1.0f / Isa::multiply_add(0.35f, a, 1.0f);
  const float p = polynomial<Isa>(
      u, {1.396195803e-01f, 1.398963671e-01f, 1.195640499e-01f, 1.066389528e-01f, -2.593165320e-02f,
          1.634700101e-01f, -2.596290959e-01f, 1.459327662e-01f, -2.956099594e-02f});
  const float square = a * a;
  const float rounded = bounded_exp<Isa>(-0.5f * square);
  const float power = Isa::multiply_add(rounded, -0.5f * Isa::square_rest(a, square), rounded);
  const float tail = magnitude > 13.0f ? 0.0f : power * u * p;
  return {x < 0.0f ? tail : 1.0f - tail, 0.39894228f * power};
}

}  // namespace aleph::kernels::simd
