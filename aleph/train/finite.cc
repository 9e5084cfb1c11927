#include "aleph/train/finite.h"

#include <algorithm>

#include "aleph/base/error.h"

namespace aleph::train {

namespace {

/// Infinities and NaNs are the numbers whose exponent has all its bits set.
template <typename Bits>
bool none_has(const ConstTensorView& values, Bits exponent) {
  const auto* bits = reinterpret_cast<const Bits*>(values.raw());
  return std::none_of(bits, bits + values.elements(), [&](Bits b) { return (b & exponent) == exponent; });
}

}  // namespace

bool all_finite(const ConstTensorView& values) {
  if (values.dtype() == DType::kF32) return none_has<uint32_t>(values, 0x7f800000);
  if (values.dtype() == DType::kBF16) return none_has<uint16_t>(values, 0x7f80);
  ALEPH_CHECK(values.dtype() == DType::kF16, "{}", dtype_name(values.dtype()));
  return none_has<uint16_t>(values, 0x7c00);
}

void require_finite(const ConstTensorView& values, int64_t step, const std::string& name) {
  if (!all_finite(values))
    throw Error(fmt::format("step {}: {}", step, name), "infinity or NaN", kFiniteAdvice);
}

}  // namespace aleph::train
