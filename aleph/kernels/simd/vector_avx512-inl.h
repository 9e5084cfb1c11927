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
  static void store(BF16* y, Reg x) {
    const __m512i bits = _mm512_castps_si512(x), upper = _mm512_srli_epi32(bits, 16);
    const __m512i half =
        _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(upper, _mm512_set1_epi32(1)));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i words = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_cvtepi32_epi16(words));
  }
  static void store(F16* y, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static Reg set1(float x) { return _mm512_set1_ps(x); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg if_less(Reg a, Reg b, Reg x, Reg y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  }
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
  static Reg round(Reg x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Reg scale2(Reg x, Reg n) { return _mm512_scalef_ps(x, n); }
  static Reg square_rest(Reg a, Reg square) { return _mm512_fmsub_ps(a, a, square); }
  /// 2^x, 0 below -150; relative error 2e-7.
  static Reg exp2(Reg x) {
    const Reg bounded = max(set1(-200.0f), x);  // NaN stays
    const Reg whole = round(bounded);
    return scale2(exp2_of_fraction<Avx512Vector>(sub(bounded, whole)), whole);
  }
};

}  // namespace
}  // namespace aleph::kernels::simd
