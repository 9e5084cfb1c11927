// Flat shards streamed through memory in chunks: read k+1, compute k, write k-1. Arrays that lie in
// addressable memory are used in place.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "aleph/tensor/tensor.h"
#include "aleph/zero/home.h"

namespace aleph::zero {

enum class Access : uint8_t { kRead, kWrite, kReadWrite };

/// One array of a shard.
struct ShardArray {
  Home* home = nullptr;
  Region region;
  DType dtype = DType::kF32;
  Access access = Access::kReadWrite;
};

/// A chunk of a unit's shard: elements [begin, begin + elements).
struct Chunk {
  int unit = 0;
  int64_t begin = 0;
  int64_t elements = 0;
};

struct ShardStreamArgs {
  std::vector<Chunk> chunks;
  /// The arrays of a unit, the same number and dtypes for every unit.
  std::function<std::vector<ShardArray>(int unit)> arrays;
  /// Called for every chunk in order with one view [elements] per array.
  std::function<void(const Chunk& chunk, std::span<const TensorView> views)> body;
};
/// Buffers for three chunks per staged array come from host memory (tag io_buffers). Returns when everything
/// written is at home.
void stream_shards(DeviceContext& device, const ShardStreamArgs& args);

}  // namespace aleph::zero
