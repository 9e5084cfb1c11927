#include "aleph/infer/kv_cache.h"

#include <cstring>

#include "aleph/base/parallel.h"

namespace aleph::infer {
namespace {

constexpr int64_t kGrain = 16;  // tokens a thread takes at least

}  // namespace

KvCache::KvCache(DeviceContext& device, std::span<const nn::BlockSpec> blocks, int64_t capacity, DType dtype)
    : device_(&device), capacity_(capacity) {
  for (const nn::BlockSpec& block : blocks) {
    const Shape shape{block.kv_heads, capacity, block.head_dim};
    layers_.push_back({Tensor(device.memory(), shape, dtype, MemoryTag::kKvCache),
                       Tensor(device.memory(), shape, dtype, MemoryTag::kKvCache)});
  }
}

void KvCache::store(int64_t layer, const ConstTensorView& qkv, int64_t first_position, const TensorView& q) {
  Layer& kept = layers_.at(static_cast<size_t>(layer));
  const int64_t tokens = qkv.shape()[0], slots = qkv.shape()[1], kv_heads = kept.keys.shape()[0];
  const int64_t heads = slots - 2 * kv_heads;
  const int64_t row_bytes = kept.keys.shape()[2] * dtype_bytes(qkv.dtype());
  ALEPH_CHECK(first_position >= 0 && first_position + tokens <= capacity_, "tokens {}+{} of {}",
              first_position, tokens, capacity_);
  ALEPH_CHECK(qkv.dtype() == kept.keys.dtype() && qkv.shape()[2] == kept.keys.shape()[2] &&
                  q.bytes() == tokens * heads * row_bytes,
              "qkv {} for a cache of {}", qkv.shape().to_string(), kept.keys.shape().to_string());
  if (device_->meta()) return;
  std::byte* keys = kept.keys.view().raw();
  std::byte* values = kept.values.view().raw();
  const auto copy = [row_bytes](std::byte* to, const std::byte* from, int64_t rows) {
    std::memcpy(to, from, static_cast<size_t>(rows * row_bytes));
  };
  parallel_for(tokens, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const std::byte* token = qkv.raw() + t * slots * row_bytes;
      copy(q.raw() + t * heads * row_bytes, token, heads);
      for (int64_t h = 0; h < kv_heads; ++h) {
        const int64_t to = (h * capacity_ + first_position + t) * row_bytes;
        copy(keys + to, token + (heads + h) * row_bytes, 1);
        copy(values + to, token + (heads + kv_heads + h) * row_bytes, 1);
      }
    }
  });
}

}  // namespace aleph::infer
