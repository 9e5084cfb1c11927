// Sixteen lanes of AVX-512, for the files that compile for it (vector.h says what a vector is).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "aleph/kernels/simd/exp2-inl.h"
#include "aleph/kernels/simd/vector.h"
#include "aleph/tensor/dtype.h"

namespace aleph::kernels::simd {
namespace {

struct Avx512Vector {
  using Reg = __m512;
  using Scalar = FusedScalar;
  static constexpr int kWidth = 16, kRows = 6, kColumns = 4;

  static Reg load(const float* x) { return _mm512_loadu_ps(x); }
  static Reg load(const BF16* x) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static Reg load(const F16* x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
  }
  static void store(float* y, Reg x) { _mm512_storeu_ps(y, x); }
  static Reg set1(float x) { return _mm512_set1_ps(x); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static float sum(Reg x) { return _mm512_reduce_add_ps(x); }
  static void sum4(const Reg (&x)[4], float* y) {
    const Reg ab = _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
    const Reg cd = _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
    const Reg even = _mm512_shuffle_ps(ab, cd, 0x44), odd = _mm512_shuffle_ps(ab, cd, 0xee);
    const Reg all = _mm512_add_ps(even, odd);
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(y, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }
  static Reg keep(Reg x, uint64_t bits) {
    return _mm512_maskz_mov_ps(static_cast<__mmask16>(bits & 0xffffu), x);
  }
  /// 2^x, 0 below -150; relative error 2e-7.
  static Reg exp2(Reg x) {
    const Reg bounded = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);  // NaN stays
    const Reg whole = _mm512_roundscale_ps(bounded, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Reg part = _mm512_sub_ps(bounded, whole);
    return _mm512_scalef_ps(exp2_of_fraction<Avx512Vector>(part), whole);
  }
};

}  // namespace
}  // namespace aleph::kernels::simd
