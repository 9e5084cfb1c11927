// 16 x 16 words turned over in registers.
#pragma once

#include <cstdint>
#include <utility>

namespace aleph::kernels::simd {

inline constexpr int64_t kSide = 16;
using Lanes = uint32_t __attribute__((vector_size(64)));

/// Lane l of low stays, or comes from high, by bit kDistance of l: one stage of Eklundh's transposition
/// (1972).
template <int kDistance, int64_t... l>
[[gnu::always_inline]] inline void exchange(Lanes& low, Lanes& high, std::integer_sequence<int64_t, l...>) {
  const Lanes a = low, b = high;
  low = __builtin_shufflevector(a, b, ((l & kDistance) == 0 ? l : kSide + l - kDistance)...);
  high = __builtin_shufflevector(a, b, ((l & kDistance) == 0 ? l + kDistance : kSide + l)...);
}

template <int kDistance>
[[gnu::always_inline]] inline void exchange_all(Lanes (&rows)[kSide]) {
#pragma GCC unroll 16
  for (int i = 0; i < kSide; ++i) {
    if ((i & kDistance) == 0)
      exchange<kDistance>(rows[i], rows[i + kDistance], std::make_integer_sequence<int64_t, kSide>());
  }
}

/// Lane j of row i changes places with lane i of row j.
[[gnu::always_inline]] inline void transpose_block(Lanes (&rows)[kSide]) {
  exchange_all<1>(rows);
  exchange_all<2>(rows);
  exchange_all<4>(rows);
  exchange_all<8>(rows);
}

}  // namespace aleph::kernels::simd
