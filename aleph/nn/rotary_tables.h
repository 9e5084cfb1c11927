// Tables of cosines and sines for rotary positions (Su et al., 2021), rounded where Hugging Face rounds.
#pragma once

#include <cstdint>
#include <vector>

#include "aleph/nn/spec.h"
#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::nn {

/// Angle per position of each pair, [rotary_dim / 2]: theta^(-2 i / rotary_dim), stretched as `spec` says.
/// fp32 after every step, as transformers computes it, so that far positions turn by the same angle.
std::vector<float> rotary_frequencies(const RotarySpec& spec);

/// Owns both tables, in device memory.
struct RotaryTable {
  Tensor cosines;  ///< [positions, rotary_dim / 2]; fp32
  Tensor sines;    ///< [positions, rotary_dim / 2]; fp32
};

/// Tables for positions 0 ... positions - 1. Throws Error where the pool refuses.
RotaryTable make_rotary_table(DeviceContext& device, const RotarySpec& spec, int64_t positions);

}  // namespace aleph::nn
