#include "aleph/train/finite.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "aleph/base/error.h"
#include "aleph/base/testing.h"

namespace aleph::train {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

template <typename T>
bool finite(std::vector<T> values) {
  return all_finite(view_of(std::span<const T>(values), Shape{static_cast<int64_t>(values.size())}));
}

/// Elements of a 16-bit type, by their bits.
bool finite_bits(std::vector<uint16_t> bits, DType dtype) {
  return all_finite(ConstTensorView(reinterpret_cast<const std::byte*>(bits.data()),
                                    Shape{static_cast<int64_t>(bits.size())}, dtype));
}

TEST(Finite, LargestAndSmallestNumbersAreFine) {
  const float most = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  EXPECT_TRUE(finite<float>({most, -most, least, 0, -0.0f}));
  EXPECT_TRUE(finite<float>({}));
  EXPECT_TRUE(finite_bits({0x7f7f, 0xff7f, 0x0001}, DType::kBF16));
  EXPECT_TRUE(finite_bits({0x7bff, 0xfbff, 0x0001}, DType::kF16));
}

TEST(Finite, InfinitiesAndNansAreFoundAnywhere) {
  for (const float bad : {INFINITY, -INFINITY, NAN, -NAN})
    for (const size_t place : {0u, 7u, 40u}) {
      std::vector<float> values(41, 1.5f);
      values[place] = bad;
      EXPECT_FALSE(finite(values)) << bad << " at " << place;
    }
  for (const uint16_t bad : {0x7f80, 0xff80, 0x7fc0, 0x7f81})
    EXPECT_FALSE(finite_bits({0, bad}, DType::kBF16));
  for (const uint16_t bad : {0x7c00, 0xfc00, 0x7e00, 0x7c01})
    EXPECT_FALSE(finite_bits({0, bad}, DType::kF16));
}

TEST(Finite, AnErrorNamesStepAndPlace) {
  const std::vector<float> values = {1, NAN};
  const std::string fault = fault_of([&] {
    require_finite(view_of(std::span<const float>(values), Shape{2}), 12, "exp_avg/h.0.ln_1.weight");
  });
  EXPECT_THAT(fault, StartsWith("step 12: exp_avg/h.0.ln_1.weight: found infinity or NaN, expected finite"));
  EXPECT_THAT(fault, HasSubstr("a lower --lr"));
}

}  // namespace
}  // namespace aleph::train
