// Keys and values of the tokens a sequence has so far.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "aleph/nn/spec.h"
#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::infer {

/// One sequence. Owns its memory in the device pool (tag kKvCache).
class KvCache {
 public:
  /// Room for `capacity` tokens. Throws Error where the pool refuses.
  KvCache(DeviceContext& device, std::span<const nn::BlockSpec> blocks, int64_t capacity, DType dtype);

  /// Copies the keys and values of qkv [tokens, heads + 2 kv_heads, head_dim] to positions first_position
  /// on, and the queries to q [tokens, heads, head_dim].
  void store(int64_t layer, const ConstTensorView& qkv, int64_t first_position, const TensorView& q);

  ConstTensorView keys(int64_t layer) const {
    return at(layer).keys.view();
  }  ///< [kv_heads, capacity, head_dim]
  ConstTensorView values(int64_t layer) const { return at(layer).values.view(); }
  int64_t capacity() const { return capacity_; }

 private:
  struct Layer {
    Tensor keys, values;
  };
  const Layer& at(int64_t layer) const { return layers_.at(static_cast<size_t>(layer)); }

  DeviceContext* device_;
  int64_t capacity_;
  std::vector<Layer> layers_;
};

}  // namespace aleph::infer
