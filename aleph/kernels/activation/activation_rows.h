// Inside of the activations on the CPU: n numbers that lie side by side, and the table of what each
// instruction set provides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aleph/kernels/activation/activation.h"
#include "aleph/tensor/dtype.h"

namespace aleph::kernels::activation {

/// Which function f, of numbers stored as what.
struct Function {
  Activation activation = Activation::kGelu;
  DType dtype = DType::kF32;
};

/// All arrays are [n] of the function's dtype.
struct Kernels {
  /// y = f(x)
  void (*forward)(Function f, const std::byte* x, std::byte* y, int64_t n);
  /// dx = dy f'(x)
  void (*backward)(Function f, const std::byte* x, const std::byte* dy, std::byte* dx, int64_t n);
  /// y = f(gate) up
  void (*gated_forward)(Function f, const std::byte* gate, const std::byte* up, std::byte* y, int64_t n);
  /// dgate = dy up f'(gate), dup = dy f(gate)
  void (*gated_backward)(Function f, const std::byte* gate, const std::byte* up, const std::byte* dy,
                         std::byte* dgate, std::byte* dup, int64_t n);
};

/// Those of each level, for kernels_of (simd.h).
struct Levels {
  static const Kernels& portable();
  static const Kernels& avx2();
  static const Kernels& avx512();
  static const Kernels& avx512_bf16();
};

}  // namespace aleph::kernels::activation
