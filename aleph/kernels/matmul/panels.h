// The layout in which products read their second operand fastest: panel p holds columns 64 p ... 64 p + 63 of
// B [k, n], one step of k after another, in bf16 two steps interleaved (what a bf16 dot instruction reads).
// Both are blocked layouts of the library. Edges are padded with zeros.
#pragma once

#include <cstdint>

#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

inline constexpr int64_t kPanel = 64;

/// k with its padding, as the library pads it: 16 steps of 32 bits.
int64_t padded_depth(int64_t k, DType dtype);
/// [panels, padded depth, 64]
Shape panels_shape(int64_t n, int64_t k, DType dtype);

/// b [k, n], row-major, into panels; both fp32, or both bf16.
void pack_panels(const ConstTensorView& b, const TensorView& panels);

}  // namespace aleph::kernels
