// Four lanes in the compiler's own vectors: what every machine has (vector.h says what a vector is).
#pragma once

#include <cstdint>
#include <cstring>

#include "aleph/kernels/simd/exp2-inl.h"
#include "aleph/kernels/simd/vector.h"

namespace aleph::kernels::simd {
namespace {

struct PortableVector {
  using Reg = float __attribute__((vector_size(16)));
  using Scalar = PlainScalar;
  using Bits = int32_t __attribute__((vector_size(16)));
  static constexpr int kWidth = 4, kRows = 4, kColumns = 2;

  static Reg load(const float* x) {
    Reg y;
    std::memcpy(&y, x, sizeof(y));
    return y;
  }
  template <typename T>
  static Reg load(const T* x) {
    return Reg{simd::load(x), simd::load(x + 1), simd::load(x + 2), simd::load(x + 3)};
  }
  static void store(float* y, Reg x) { std::memcpy(y, &x, sizeof(x)); }
  template <typename T>
  static void store(T* y, Reg x) {
    for (int i = 0; i < kWidth; ++i) simd::store(y + i, x[i]);
  }
  static Reg set1(float x) { return Reg{x, x, x, x}; }
  static Reg add(Reg a, Reg b) { return a + b; }
  static Reg sub(Reg a, Reg b) { return a - b; }
  static Reg mul(Reg a, Reg b) { return a * b; }
  static Reg div(Reg a, Reg b) { return a / b; }
  static Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static Reg max(Reg a, Reg b) { return a > b ? a : b; }
  static Reg min(Reg a, Reg b) { return a < b ? a : b; }
  static Reg if_less(Reg a, Reg b, Reg x, Reg y) { return a < b ? x : y; }
  static float sum(Reg x) { return (x[0] + x[2]) + (x[1] + x[3]); }
  static void sum4(const Reg (&x)[4], float* y) {
    for (int i = 0; i < 4; ++i) y[i] = sum(x[i]);
  }
  static Reg keep(Reg x, uint64_t bits) {
    const auto all = static_cast<int32_t>(bits & 0xfu);
    const Bits kept = (Bits{all, all, all, all} & Bits{1, 2, 4, 8}) != 0;
    return reinterpret_cast<Reg>(reinterpret_cast<Bits>(x) & kept);
  }
  static Reg round(Reg x) { return (x + kRound) - kRound; }
  static Reg scale2(Reg x, Reg n) {
    return x * reinterpret_cast<Reg>((reinterpret_cast<Bits>(n + kRound) + 127) << 23);
  }
  static Reg square_rest(Reg a, Reg square) {
    const Reg high = reinterpret_cast<Reg>(reinterpret_cast<Bits>(a) & ~0xfff), low = a - high;
    return ((high * high - square) + 2.0f * high * low) + low * low;  // Dekker: high squared is exact
  }
  /// 2^x, 0 below -126.5, infinite from 127.5 on; relative error 2e-7.
  static Reg exp2(Reg x) {
    const Reg bounded = min(set1(128.0f), max(set1(-127.0f), x));  // NaN stays
    const Reg whole = round(bounded);
    return scale2(exp2_of_fraction<PortableVector>(bounded - whole), whole);
  }

 private:
  static constexpr float kRound =
      12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
};

}  // namespace
}  // namespace aleph::kernels::simd
