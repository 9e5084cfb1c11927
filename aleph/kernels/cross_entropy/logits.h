// Inside of the cross entropy on the CPU: what it computes of logits that lie side by side, and the table of
// what each instruction set provides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aleph/tensor/dtype.h"

namespace aleph::kernels::logits {

inline constexpr int64_t kChunk = 2048;     ///< logits that share a maximum
inline constexpr float kLowest = -3.0e38f;  ///< maximum before the first logit

/// Where numbers of `size` bytes will be written, one for each logit.
struct Target {
  std::byte* data = nullptr;
  int64_t size = 0;

  Target at(int64_t first) const { return {data + first * size, size}; }
};

struct Kernels {
  /// The largest of x [n] and `before`.
  float (*largest)(const float* x, int64_t n, float before);
  /// Sum of e^(x - largest) over x [n], largest at least as large as every x; keeps each in y unless null.
  /// Meanwhile asks for the chunk behind, and for `coming` [n].
  float (*exponentials)(const float* x, int64_t n, float largest, float* y, const Target& coming);
  /// y [n] = factor x, rounded to dtype.
  void (*scale)(const float* x, float factor, DType dtype, std::byte* y, int64_t n);
};

/// Those of each level, for kernels_of (simd.h).
struct Levels {
  static const Kernels& portable();
  static const Kernels& avx2();
  static const Kernels& avx512();
  static const Kernels& avx512_bf16();
};

}  // namespace aleph::kernels::logits
