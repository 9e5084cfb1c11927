// The exponential on fp32 as straight-line code that vectorises. Relative error below 4e-7 (measured in
// simd_test.cc); NaN gives NaN.
#pragma once

#include <bit>
#include <cstdint>

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

/// e^x for x <= 0; 0 below -87.3.
template <typename Isa>
[[gnu::always_inline]] inline float exp_of_negative(float x) {
  const float y = bounded_exp<Isa>(x < -87.3f ? -87.3f : x);
  return x < -87.3f ? 0.0f : y;
}

}  // namespace aleph::kernels::simd
