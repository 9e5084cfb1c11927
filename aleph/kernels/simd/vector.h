// What a vector type is, for loops that are written once and compiled by one file for each instruction set:
//
//   Reg, kWidth     a register of kWidth fp32 numbers
//   Scalar          load, store, set1, add, sub, mul and fma of one number, for the rest of a row
//   load, store     of fp32, BF16 and F16 (rounded as simd::store does it, NaN to some NaN); any element
//   set1, add, sub, mul, div, fma (a b + c), sum (of a register), sum4 (of four)
//   max, min        of a number and NaN: the second operand
//   if_less(a, b, x, y)  x where a < b, y elsewhere
//   keep(v, bits)   lanes whose bit is set, others 0
//   round           the nearest whole number, of numbers below 2^22
//   scale2(x, n)    x 2^n for whole n in [-127, 128]; may be 0 at -127 and infinite at 128
//   square_rest(a, square)  what a a was rounded by to be square
//   exp2
//   kRows, kColumns registers of a product tile: rows of one operand, vectors of the other
//
// Their files, vector_*-inl.h, have internal linkage: each that includes one compiles its own.
#pragma once

#include <cstdint>

#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels::simd {

/// One number; Isa (simd.h) says how it is multiplied and added.
template <typename Isa>
struct ScalarVector {
  using Reg = float;
  static constexpr int kWidth = 1;

  template <typename T>
  [[gnu::always_inline]] static float load(const T* x) {
    return simd::load(x);
  }
  template <typename T>
  [[gnu::always_inline]] static void store(T* y, float x) {
    simd::store(y, x);
  }
  [[gnu::always_inline]] static float set1(float x) { return x; }
  [[gnu::always_inline]] static float add(float a, float b) { return a + b; }
  [[gnu::always_inline]] static float sub(float a, float b) { return a - b; }
  [[gnu::always_inline]] static float mul(float a, float b) { return a * b; }
  [[gnu::always_inline]] static float fma(float a, float b, float c) { return Isa::multiply_add(a, b, c); }
};

using PlainScalar = ScalarVector<Portable>;
using FusedScalar = ScalarVector<Avx2>;

}  // namespace aleph::kernels::simd
