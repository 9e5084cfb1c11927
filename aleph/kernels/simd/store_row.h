// Rows of fp32 rounded to their storage.
#pragma once

#include <cstdint>
#include <type_traits>

#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels::simd {

/// y[i] = factor x[i] with the bits of `store`, by the processor's own conversion (level avx512_bf16).
void round_row(const float* x, float factor, BF16* y, int64_t n);

/// y[i] = factor x[i] rounded to T, the bits of `store`.
template <typename T>
void store_row(CpuLevel level, const float* x, float factor, T* y, int64_t n) {
  if constexpr (std::is_same_v<T, BF16>) {
    if (level == CpuLevel::kAvx512Bf16) return round_row(x, factor, y, n);
  }
  run_at(
      level, [=](auto) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) store(y + i, x[i] * factor);
      });
}

}  // namespace aleph::kernels::simd
