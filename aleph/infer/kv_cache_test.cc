#include "aleph/infer/kv_cache.h"

#include <gtest/gtest.h>

#include "aleph/base/random.h"

namespace aleph::infer {
namespace {

TEST(KvCacheTest, StoresKeysAndValuesByHeadAndGivesQueriesBack) {
  DeviceContext device({});
  const nn::BlockSpec block{.heads = 6, .kv_heads = 3, .head_dim = 5};
  const std::vector<nn::BlockSpec> blocks = {block, block};
  const int64_t capacity = 90;
  KvCache cache(device, blocks, capacity, DType::kF32);
  const RandomStream random({.seed = 31});
  std::vector<float> all(static_cast<size_t>(capacity * 12 * 5)), queries(all.size() / 2);
  for (size_t i = 0; i < all.size(); ++i) all[i] = random.normal(i);
  const TensorView qkv = view_of(std::span(all), Shape{capacity, 12, 5});
  const TensorView q = view_of(std::span(queries), Shape{capacity, 6, 5});
  int64_t begin = 0;
  for (const int64_t count : {1, 50, 7, 32}) {
    cache.store(1, qkv.slice(begin, count), begin, q.slice(begin, count));
    begin += count;
  }
  const float* keys = cache.keys(1).data<float>();
  const float* values = cache.values(1).data<float>();
  for (int64_t t = 0; t < capacity; ++t) {
    const float* token = all.data() + t * 60;
    for (int64_t i = 0; i < 30; ++i) ASSERT_EQ(queries[static_cast<size_t>(t * 30 + i)], token[i]);
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t i = 0; i < 5; ++i) {
        ASSERT_EQ(keys[(h * capacity + t) * 5 + i], token[(6 + h) * 5 + i]);
        ASSERT_EQ(values[(h * capacity + t) * 5 + i], token[(9 + h) * 5 + i]);
      }
    }
  }
}

TEST(KvCacheTest, MemoryIsTaggedAndBeyondTheCapacityIsABug) {
  DeviceContext device({});
  const std::vector<nn::BlockSpec> blocks = {{.heads = 2, .kv_heads = 2, .head_dim = 64}};
  KvCache cache(device, blocks, 16, DType::kBF16);
  EXPECT_EQ(device.memory().ledger().live(MemoryTag::kKvCache), 2 * 2 * 16 * 64 * 2);
  std::vector<BF16> memory(6 * 64), q(2 * 64);
  const TensorView qkv = view_of(std::span(memory), Shape{1, 6, 64});
  EXPECT_THROW(cache.store(0, qkv, 16, view_of(std::span(q), Shape{1, 2, 64})), InternalError);
}

}  // namespace
}  // namespace aleph::infer
