#include "aleph/nn/rotary_tables.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace aleph::nn {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

/// The formulas of the papers in double.
double frequency_in_double(const RotarySpec& spec, int64_t pair) {
  const double plain =
      std::pow(spec.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(spec.rotary_dim));
  if (spec.scaling == RopeScaling::kDefault) return plain;
  if (spec.scaling == RopeScaling::kLinear) return plain / spec.factor;
  const double wave = 2 * std::numbers::pi / plain;
  const double original = static_cast<double>(spec.original_max_positions);
  if (wave < original / spec.high_freq_factor) return plain;
  if (wave > original / spec.low_freq_factor) return plain / spec.factor;
  const double smooth =
      (original / wave - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor);
  return (1 - smooth) * plain / spec.factor + smooth * plain;
}

std::vector<RotarySpec> specs() {
  return {{.rotary_dim = 2},
          {.rotary_dim = 22, .theta = 100000},
          {.rotary_dim = 64, .scaling = RopeScaling::kLinear, .factor = 3},
          {.rotary_dim = 128, .theta = 500000, .scaling = RopeScaling::kLlama3, .factor = 8},
          {.rotary_dim = 8,
           .theta = 500000,
           .scaling = RopeScaling::kLlama3,
           .factor = 8,
           .original_max_positions = 16}};
}

TEST(RotaryTablesTest, FrequenciesFollowTheFormulas) {
  for (const RotarySpec& spec : specs()) {
    const std::vector<float> frequencies = rotary_frequencies(spec);
    ASSERT_EQ(static_cast<int64_t>(frequencies.size()), spec.rotary_dim / 2);
    for (size_t i = 0; i < frequencies.size(); ++i) {
      const double expected = frequency_in_double(spec, static_cast<int64_t>(i));
      // The exponent is rounded before the power: an error of log(theta) / 2 ulps more.
      EXPECT_NEAR(frequencies[i], expected, (8 + std::log(spec.theta)) * kEpsilon * expected) << i;
    }
  }
}

TEST(RotaryTablesTest, TablesHoldCosinesAndSinesOfEachAngle) {
  DeviceContext device({});
  const int64_t positions = 301;
  for (const RotarySpec& spec : specs()) {
    const RotaryTable table = make_rotary_table(device, spec, positions);
    const int64_t pairs = spec.rotary_dim / 2;
    ASSERT_EQ(table.cosines.shape(), (Shape{positions, pairs}));
    const float* cosines = table.cosines.view().data<float>();
    const float* sines = table.sines.view().data<float>();
    for (int64_t i = 0; i < positions * pairs; ++i) {
      const double angle = static_cast<double>(i / pairs) * frequency_in_double(spec, i % pairs);
      const double bar = (8 + std::log(spec.theta)) * kEpsilon * (1 + angle);
      ASSERT_NEAR(cosines[i], std::cos(angle), bar);
      ASSERT_NEAR(sines[i], std::sin(angle), bar);
    }
    EXPECT_EQ(table.cosines.bytes() + table.sines.bytes(), positions * spec.rotary_dim * 4);
  }
}

TEST(RotaryTablesTest, MetaDevicesBookAndDoNotTouch) {
  DeviceContext device({.kind = DeviceKind::kMeta});
  const RotarySpec spec{.rotary_dim = 64};
  const RotaryTable table = make_rotary_table(device, spec, 1000);
  EXPECT_GE(device.memory().ledger().live(), 1000 * spec.rotary_dim * 4);
}

}  // namespace
}  // namespace aleph::nn
