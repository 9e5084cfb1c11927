// Inside of the norms on the CPU: rows of one thread, and the table of what each instruction set provides.
// Layer norm and RMS norm are one computation: RMS norm leaves the mean at zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aleph/tensor/dtype.h"

namespace aleph::kernels::norm {

/// x, y: [rows, n] of dtype.
struct Forward {
  DType dtype = DType::kF32;
  const std::byte* x = nullptr;
  const float* weight = nullptr;  ///< [n]
  const float* bias = nullptr;    ///< [n]; may be null
  std::byte* y = nullptr;
  float* mean = nullptr;  ///< [rows]; null for RMS norm
  float* rstd = nullptr;  ///< [rows]
  int64_t n = 0;
  float epsilon = 0;
};

/// x, dy, dx: [rows, n] of dtype.
struct Backward {
  DType dtype = DType::kF32;
  const std::byte* x = nullptr;
  const float* weight = nullptr;  ///< [n]
  const float* mean = nullptr;    ///< [rows]; null for RMS norm
  const float* rstd = nullptr;    ///< [rows]
  const std::byte* dy = nullptr;
  std::byte* dx = nullptr;
  int64_t n = 0;
};

/// Rows [begin, end).
struct Kernels {
  /// wide: [n], scratch.
  void (*forward)(const Forward& job, int64_t begin, int64_t end, float* wide);
  /// Adds the rows to dweight [n] and, unless null, dbias [n].
  void (*backward)(const Backward& job, int64_t begin, int64_t end, float* dweight, float* dbias);
};

/// Those of each level, for kernels_of (simd.h).
struct Levels {
  static const Kernels& portable();
  static const Kernels& avx2();
  static const Kernels& avx512();
  static const Kernels& avx512_bf16();
};

}  // namespace aleph::kernels::norm
