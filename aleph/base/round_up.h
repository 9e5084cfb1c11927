// Sizes in whole units.
#pragma once

#include <cstdint>

namespace aleph {

/// The least multiple of `unit` (> 0) that is not below `value` (>= 0).
constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace aleph
