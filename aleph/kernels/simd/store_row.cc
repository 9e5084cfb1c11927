#include "aleph/kernels/simd/store_row.h"

#if defined(__x86_64__)
// g++ 12 takes the undefined sources of its own AVX-512 intrinsics for mistakes (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace aleph::kernels::simd {

#if defined(__x86_64__)
/// The conversion takes subnormal numbers for 0: vectors that have one are rounded one by one.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"))) void round_row(const float* x,
                                                                                        float factor, BF16* y,
                                                                                        int64_t n) {
  constexpr int kSubnormal = 0x20;
  constexpr int64_t kStep = 32;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const __m512 low = _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(factor));
    const __m512 high = _mm512_mul_ps(_mm512_loadu_ps(x + i + 16), _mm512_set1_ps(factor));
    const auto odd = static_cast<uint32_t>(_mm512_fpclass_ps_mask(low, kSubnormal)) |
                     static_cast<uint32_t>(_mm512_fpclass_ps_mask(high, kSubnormal));
    if (odd != 0) {
      for (int64_t j = i; j < i + kStep; ++j) store(y + j, x[j] * factor);
    } else {
      _mm512_storeu_si512(y + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }
  for (; i < n; ++i) store(y + i, x[i] * factor);
}
#else
void round_row(const float* x, float factor, BF16* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store(y + i, x[i] * factor);
}
#endif

}  // namespace aleph::kernels::simd
