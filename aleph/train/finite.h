// Values that a run can go on from.
#pragma once

#include <cstdint>
#include <string>

#include "aleph/tensor/tensor.h"

namespace aleph::train {

/// What an error expects in place of infinity and NaN, and what to try.
inline constexpr const char* kFiniteAdvice =
    "finite numbers; a lower --lr, a longer --warmup, --grad-clip 1 or less, or --dtype fp32 may help";

/// Whether no element is infinite or NaN. fp32, bf16 and fp16.
bool all_finite(const ConstTensorView& values);

/// Throws Error for infinities and NaNs in `name`, which step `step` left behind.
void require_finite(const ConstTensorView& values, int64_t step, const std::string& name);

}  // namespace aleph::train
