// What a transformer block is made of, as data. Training blocks and inference blocks are both built from
// these.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/rotary/rotary.h"

namespace aleph::nn {

enum class NormKind : uint8_t { kLayerNorm, kRmsNorm };

/// How rotary frequencies are stretched beyond the trained context (Hugging Face `rope_type`).
enum class RopeScaling : uint8_t {
  kDefault,  ///< not at all
  kLinear,   ///< positions divided by factor
  kLlama3,   ///< low frequencies divided by factor, high ones kept, a ramp between
};

/// Rotary positions of one model.
struct RotarySpec {
  int64_t rotary_dim = 0;  ///< leading elements of each head that turn; even
  double theta = 10000;
  kernels::RotaryLayout layout = kernels::RotaryLayout::kHalves;
  RopeScaling scaling = RopeScaling::kDefault;
  double factor = 1;
  double low_freq_factor = 1;             ///< kLlama3
  double high_freq_factor = 4;            ///< kLlama3
  int64_t original_max_positions = 8192;  ///< kLlama3
  bool operator==(const RotarySpec&) const = default;
};

/// One transformer block: x += attention(norm(x)); x += mlp(norm(x)).
struct BlockSpec {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;

  NormKind norm = NormKind::kLayerNorm;
  float norm_epsilon = 1e-5f;
  kernels::Activation activation = kernels::Activation::kGeluTanh;
  bool gated_mlp = false;  ///< the up projection holds gate and up, gate first

  bool qkv_bias = true;
  bool attention_output_bias = true;
  bool mlp_bias = true;

  float attention_scale = 1;  ///< factor on q k^T
  int64_t attention_window = std::numeric_limits<int64_t>::max();
  std::optional<RotarySpec> rotary;

  float residual_dropout = 0;
  float attention_dropout = 0;
  bool operator==(const BlockSpec&) const = default;
};

/// What stands before the first block.
struct EmbeddingSpec {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t learned_positions = 0;  ///< 0: none
  int64_t padding_id = -1;        ///< its row gets no gradient through the look-up; -1: none
  float dropout = 0;
  bool operator==(const EmbeddingSpec&) const = default;
};

/// What stands behind the last block: a norm and the projection to the vocabulary.
struct HeadSpec {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  NormKind norm = NormKind::kLayerNorm;
  float norm_epsilon = 1e-5f;
  bool tied = true;  ///< the projection is the token embedding
  bool output_bias = false;
  bool operator==(const HeadSpec&) const = default;
};

}  // namespace aleph::nn
