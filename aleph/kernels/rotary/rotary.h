// Rotary position embedding (Su et al., 2021), in place on queries and keys.
#pragma once

#include <cstdint>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// Which two elements of a head form a pair: (i, i + rotary_dim / 2), or (2 i, 2 i + 1).
enum class RotaryLayout : uint8_t { kHalves, kInterleaved };
/// Backward rotates gradients by the negative angle.
enum class RotaryDirection : uint8_t { kForward, kBackward };

/// (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin) for the first `heads` heads of each token and the first
/// rotary_dim = 2 * cosines.shape()[1] elements of each head; the rest stays.
struct RotaryArgs {
  TensorView x;               ///< [tokens, all_heads, head_dim]; fp32, bf16 or fp16; changed in place
  int64_t heads = 0;          ///< how many leading heads turn (queries and keys of a fused projection)
  ConstTensorView cosines;    ///< [positions, rotary_dim / 2]; fp32
  ConstTensorView sines;      ///< [positions, rotary_dim / 2]; fp32
  ConstTensorView positions;  ///< [tokens]; int32, each < rows of the tables
  RotaryLayout layout = RotaryLayout::kHalves;
  RotaryDirection direction = RotaryDirection::kForward;
};
void rotary(DeviceContext& device, const RotaryArgs& args);
void rotary_reference(const RotaryArgs& args);

}  // namespace aleph::kernels
