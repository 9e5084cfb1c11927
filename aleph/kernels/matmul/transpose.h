// Matrices turned over, for products whose operand does not stand as the library reads it fastest.
#pragma once

#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// y [n, m] = columns [first, first + n) of x [m, ..] transposed, of one dtype of 4 or 2 bytes; they must not
/// overlap.
void transpose(const ConstTensorView& x, int64_t first, const TensorView& y);

}  // namespace aleph::kernels
