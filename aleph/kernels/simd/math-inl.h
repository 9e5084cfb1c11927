// Elementary functions of a vector type V (vector.h), for the files that compile for an instruction set.
// Relative error below 1e-6 unless stated; NaN gives NaN.
#pragma once

namespace aleph::kernels::simd {
namespace {

/// sum of coefficients[i] x^i, from the highest (Horner).
template <typename V, int kCount>
inline typename V::Reg polynomial(typename V::Reg x, const float (&coefficients)[kCount]) {
  typename V::Reg sum = V::set1(coefficients[kCount - 1]);
#pragma GCC unroll 16
  for (int i = kCount - 2; i >= 0; --i) sum = V::fma(sum, x, V::set1(coefficients[i]));
  return sum;
}

/// e^x; at most 1.3e-38, subnormal or 0, from -87.3 down, infinite above 88.8, perhaps already above 88.3.
template <typename V>
inline typename V::Reg exp(typename V::Reg x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const auto bounded = V::min(V::set1(89.0f), V::max(V::set1(-88.0f), x));
  const auto whole = V::round(V::mul(bounded, V::set1(kLog2E)));
  auto part = V::fma(whole, V::set1(-kLn2High), bounded);
  part = V::fma(whole, V::set1(-kLn2Low), part);
  const auto tail = polynomial<V>(
      part, {4.999999942e-01f, 1.666657742e-01f, 4.166694278e-02f, 8.363130306e-03f, 1.389383228e-03f});
  const auto power = V::add(V::set1(1.0f), V::fma(tail, V::mul(part, part), part));
  return V::scale2(power, whole);
}

/// 1 / (1 + e^-x)
template <typename V>
inline typename V::Reg sigmoid(typename V::Reg x) {
  const auto one = V::set1(1.0f);
  return V::div(one, V::add(one, exp<V>(V::sub(V::set1(0.0f), x))));
}

template <typename V>
inline typename V::Reg abs(typename V::Reg x) {
  return V::max(V::sub(V::set1(0.0f), x), x);
}

template <typename V>
inline typename V::Reg tanh(typename V::Reg x) {
  const auto zero = V::set1(0.0f), one = V::set1(1.0f), two = V::set1(2.0f), size = abs<V>(x);
  const auto square = V::mul(x, x);
  const auto terms = polynomial<V>(
      square, {-3.333332678e-01f, 1.333256600e-01f, -5.382170651e-02f, 2.086579488e-02f, -5.914742946e-03f});
  const auto small = V::fma(V::mul(x, square), terms, x);
  const auto large = V::sub(one, V::div(two, V::add(one, exp<V>(V::mul(two, size)))));
  const auto signed_large = V::if_less(x, zero, V::sub(zero, large), large);
  return V::if_less(size, V::set1(0.625f), small, signed_large);
}

/// Phi(x), the standard normal distribution function, and phi(x), its density.
template <typename V>
struct Normal {
  typename V::Reg distribution, density;
};

/// Phi is accurate in the lower tail too (it and phi are 0 beyond 13): with a = |x| and u = 1 / (1 + 0.35 a),
/// Phi(-a) = e^(-a^2 / 2) u P(u), P fitted on a in [0, 13.5] to 4e-8. What squaring a rounds away is put
/// back, as it is multiplied by a^2 in the exponential.
template <typename V>
inline Normal<V> normal(typename V::Reg x) {
  const auto one = V::set1(1.0f), half = V::set1(-0.5f), zero = V::set1(0.0f), far = V::set1(13.0f);
  const auto size = abs<V>(x), a = V::min(far, size);
  const auto u = V::div(one, V::fma(V::set1(0.35f), a, one));
  const auto p = polynomial<V>(
      u, {1.396195803e-01f, 1.398963671e-01f, 1.195640499e-01f, 1.066389528e-01f, -2.593165320e-02f,
          1.634700101e-01f, -2.596290959e-01f, 1.459327662e-01f, -2.956099594e-02f});
  const auto square = V::mul(a, a), rounded = exp<V>(V::mul(half, square));
  const auto power = V::fma(rounded, V::mul(half, V::square_rest(a, square)), rounded);
  const auto tail = V::if_less(far, size, zero, V::mul(V::mul(power, u), p));
  const auto density = V::if_less(far, size, zero, V::mul(V::set1(0.39894228f), power));
  return {V::if_less(x, zero, tail, V::sub(one, tail)), density};
}

}  // namespace
}  // namespace aleph::kernels::simd
