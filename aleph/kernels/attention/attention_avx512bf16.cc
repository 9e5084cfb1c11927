// Sixteen lanes with AVX-512, products of bf16 in pairs.
#include "aleph/kernels/attention/attention_tiles.h"
#include "aleph/kernels/simd/intrinsics.h"

#pragma GCC target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#include "aleph/kernels/attention/attention_tiles-inl.h"
#include "aleph/kernels/simd/vector_avx512bf16-inl.h"

namespace aleph::kernels::attention {
namespace {

using Vector = simd::Avx512Bf16Vector;

struct PairsVector : Vector {
  using PairReg = __m512bh;
  using Vector::fma, Vector::load, Vector::set1;

  static PairReg load(const Pair* x) { return (__m512bh)_mm512_loadu_si512(x); }
  static PairReg set1(Pair x) { return (__m512bh)_mm512_set1_epi32(static_cast<int>(x.bits)); }
  /// c + the products of both halves, summed in fp32; subnormal numbers count as 0.
  static Reg fma(PairReg a, PairReg b, Reg c) { return _mm512_dpbf16_ps(c, a, b); }

  static __m512i to_pairs(Reg low, Reg high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
  static __m512i load_halves(const BF16* low, const BF16* high) {
    const __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
    return _mm512_inserti64x4(x, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)), 1);
  }
  static void store_halves(Pair* low, Pair* high, __m512i x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low), _mm512_castsi512_si256(x));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high), _mm512_extracti64x4_epi64(x, 1));
  }
  /// y[i] = (low half[i], high half[i])
  static void store_zipped(Pair* y, __m512i x) {
    alignas(64) static constexpr int16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    _mm512_storeu_si512(y, _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), x));
  }
};

}  // namespace

const Kernels& Levels::avx512_bf16() { return kKernels<PairsVector>; }

}  // namespace aleph::kernels::attention
