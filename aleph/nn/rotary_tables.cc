#include "aleph/nn/rotary_tables.h"

#include <cmath>
#include <numbers>

#include "aleph/base/error.h"
#include "aleph/base/parallel.h"

namespace aleph::nn {
namespace {

/// Llama 3.1: frequencies of long waves are divided, those of short waves kept, a ramp between.
float stretch_llama3(const RotarySpec& spec, float frequency) {
  const auto factor = static_cast<float>(spec.factor);
  const auto low = static_cast<float>(spec.low_freq_factor), high = static_cast<float>(spec.high_freq_factor);
  const auto original = static_cast<float>(spec.original_max_positions);
  const float wave = static_cast<float>(2 * std::numbers::pi) / frequency;
  if (wave < original / high) return frequency;
  if (wave > original / low) return frequency / factor;
  const float smooth = (original / wave - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::vector<float> rotary_frequencies(const RotarySpec& spec) {
  ALEPH_CHECK(spec.rotary_dim > 0 && spec.rotary_dim % 2 == 0, "rotary_dim {}", spec.rotary_dim);
  std::vector<float> frequencies;
  for (int64_t i = 0; i < spec.rotary_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(spec.rotary_dim);
    float frequency = 1.0f / static_cast<float>(std::pow(spec.theta, static_cast<double>(exponent)));
    if (spec.scaling == RopeScaling::kLinear) frequency /= static_cast<float>(spec.factor);
    if (spec.scaling == RopeScaling::kLlama3) frequency = stretch_llama3(spec, frequency);
    frequencies.push_back(frequency);
  }
  return frequencies;
}

RotaryTable make_rotary_table(DeviceContext& device, const RotarySpec& spec, int64_t positions) {
  const int64_t pairs = spec.rotary_dim / 2;
  const Shape shape{positions, pairs};
  RotaryTable table{Tensor(device.memory(), shape, DType::kF32, MemoryTag::kWorkspace),
                    Tensor(device.memory(), shape, DType::kF32, MemoryTag::kWorkspace)};
  if (device.meta()) return table;
  const std::vector<float> frequencies = rotary_frequencies(spec);
  float* cosines = table.cosines.view().data<float>();
  float* sines = table.sines.view().data<float>();
  parallel_for(positions, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * pairs; i < end * pairs; ++i) {
      const float angle = static_cast<float>(i / pairs) * frequencies[static_cast<size_t>(i % pairs)];
      cosines[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sines[i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  });
  return table;
}

}  // namespace aleph::nn
