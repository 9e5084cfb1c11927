// Copies, conversions, sums and dropout: what moves between layers and between tiers.
#pragma once

#include <cstdint>

#include "aleph/base/random.h"
#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// y = x, converting between fp32, bf16 and fp16 (round to nearest even). Same element count.
void convert(DeviceContext& device, const ConstTensorView& x, const TensorView& y);
/// Every byte becomes zero.
void zero(DeviceContext& device, const TensorView& y);
/// y = a + b (dtype of all equal; summed in fp32, rounded once). y may be a or b.
void add(DeviceContext& device, const ConstTensorView& a, const ConstTensorView& b, const TensorView& y);
/// y += x, y in fp32, x in fp32, bf16 or fp16.
void accumulate(DeviceContext& device, const ConstTensorView& x, const TensorView& y);
/// y *= factor (in fp32, rounded to the dtype of y).
void scale(DeviceContext& device, float factor, const TensorView& y);

/// What a global gradient norm is made of.
struct SquareSum {
  double sum = 0;          ///< sum of squares of the finite elements
  int64_t non_finite = 0;  ///< how many elements are infinite or NaN
};
/// fp32 input. Sums in double over pieces of 4096 elements, pieces added in order: independent of threads.
SquareSum sum_of_squares(DeviceContext& device, const ConstTensorView& x);

/// y = x / (1 - p) where the draw at the element's position is >= p, else 0. Forward and, applied to dy with
/// the same key, backward. y may be x.
struct DropoutArgs {
  ConstTensorView x;
  TensorView y;
  float probability = 0;  ///< in [0, 1)
  RandomKey key;          ///< element i uses RandomStream(key).uniform(i)
};
void dropout(DeviceContext& device, const DropoutArgs& args);
void dropout_reference(const DropoutArgs& args);

}  // namespace aleph::kernels
