// Attention that never stores the [seq, seq] matrix (Dao et al., "FlashAttention", 2022; Rabe and Staats,
// 2021). Scores and sums in fp32. Query head h reads key-value head h / (heads / kv_heads) (grouped-query
// attention).
#pragma once

#include <cstdint>
#include <limits>

#include "aleph/base/random.h"
#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

enum class AttentionMask : uint8_t { kBidirectional, kCausal };

/// What every form shares. Query i sees key j iff (bidirectional or j <= i) and |i - j| < window.
struct AttentionSpec {
  int64_t heads = 0;
  int64_t kv_heads = 0;  ///< divides heads
  int64_t head_dim = 0;
  float scale = 1;  ///< factor on q k^T; positive
  AttentionMask mask = AttentionMask::kCausal;
  int64_t window = std::numeric_limits<int64_t>::max();
  /// On the probabilities, scaled by 1 / (1 - p); (batch b, head h, query i, key j) draws at position
  /// ((b * heads + h) * seq + i) * seq + j of the key's stream.
  float dropout = 0;
  RandomKey dropout_key;
};

/// Training: q, k and v of one fused projection.
struct AttentionForwardArgs {
  AttentionSpec spec;
  ConstTensorView qkv;  ///< [batch, seq, heads + 2 kv_heads, head_dim]: queries, then keys, then values
  TensorView out;       ///< [batch, seq, heads, head_dim]; dtype of qkv
  TensorView log_sums;  ///< [batch, heads, seq]; fp32: log of the softmax denominators, kept for backward
};
void attention_forward(DeviceContext& device, const AttentionForwardArgs& args);
void attention_forward_reference(const AttentionForwardArgs& args);

struct AttentionBackwardArgs {
  AttentionSpec spec;
  ConstTensorView qkv;       ///< as forward
  ConstTensorView out;       ///< as forward
  ConstTensorView log_sums;  ///< as forward
  ConstTensorView dout;      ///< [batch, seq, heads, head_dim]
  TensorView dqkv;           ///< [batch, seq, heads + 2 kv_heads, head_dim]; assigned
};
void attention_backward(DeviceContext& device, const AttentionBackwardArgs& args);
void attention_backward_reference(const AttentionBackwardArgs& args);

/// Generation: new queries of one sequence against its cache. The keys and values of the new tokens stand in
/// the cache already; query r is at position first_position + r and sees keys 0 ... first_position + r,
/// window applied.
struct CachedAttentionArgs {
  AttentionSpec spec;      ///< causal, no dropout
  ConstTensorView q;       ///< [tokens, heads, head_dim]
  ConstTensorView keys;    ///< [kv_heads, capacity, head_dim]; dtype of q
  ConstTensorView values;  ///< [kv_heads, capacity, head_dim]
  int64_t first_position = 0;
  TensorView out;  ///< [tokens, heads, head_dim]
};
void attention_cached(DeviceContext& device, const CachedAttentionArgs& args);
void attention_cached_reference(const CachedAttentionArgs& args);

}  // namespace aleph::kernels
