// Sixteen lanes of AVX-512 that round to bf16 in one instruction (vector.h says what a vector is).
#pragma once

#include <immintrin.h>

#include "aleph/kernels/simd/vector_avx512-inl.h"

namespace aleph::kernels::simd {
namespace {

struct Avx512Bf16Vector : Avx512Vector {
  using Avx512Vector::store;
  /// The instruction takes subnormal numbers for 0: a vector that has one is rounded without it.
  static void store(BF16* y, Reg x) {
    constexpr int kSubnormal = 0x20;
    if (_mm512_fpclass_ps_mask(x, kSubnormal) != 0) return Avx512Vector::store(y, x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), (__m256i)_mm512_cvtneps_pbh(x));
  }
};

}  // namespace
}  // namespace aleph::kernels::simd
