// What a vector type is, for loops that are written once and compiled by one file for each instruction set:
//
//   Reg, kWidth     a register of kWidth fp32 numbers
//   Scalar          load, store, set1, add, sub, mul and fma of one number, for the rest of a row
//   load, store     of fp32, load also of BF16 and F16; any address
//   set1, add, sub, mul, max, fma (a b + c), sum (of a register), sum4 (of four)
//   keep(v, bits)   lanes whose bit is set, others 0
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
  [[gnu::always_inline]] static void store(float* y, float x) { *y = x; }
  [[gnu::always_inline]] static float set1(float x) { return x; }
  [[gnu::always_inline]] static float add(float a, float b) { return a + b; }
  [[gnu::always_inline]] static float sub(float a, float b) { return a - b; }
  [[gnu::always_inline]] static float mul(float a, float b) { return a * b; }
  [[gnu::always_inline]] static float fma(float a, float b, float c) { return Isa::multiply_add(a, b, c); }
};

using PlainScalar = ScalarVector<Portable>;
using FusedScalar = ScalarVector<Avx2>;

}  // namespace aleph::kernels::simd
