// Rows asked for before they are read, so that waiting for memory and arithmetic overlap.
#pragma once

#include <cstdint>

namespace aleph::kernels::simd {

/// Asks for x[0, n), to be written where kWrite is 1. Any address will do: nothing is read.
template <int kWrite = 0, typename T>
[[gnu::always_inline]] inline void prefetch(const T* x, int64_t n) {
  constexpr int64_t kLine = 64;
  const char* bytes = reinterpret_cast<const char*>(x);
  for (int64_t at = 0; at < n * static_cast<int64_t>(sizeof(T)); at += kLine) {
    __builtin_prefetch(bytes + at, kWrite);
  }
}

}  // namespace aleph::kernels::simd
