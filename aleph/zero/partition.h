// Partition arithmetic: parameters to gather units, units to shards (Rajbhandari et al., "ZeRO", SC'20: every
// rank owns 1/N of every state).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "aleph/autograd/parameter.h"
#include "aleph/nn/transformer.h"

namespace aleph::zero {

/// Shards are multiples of this many elements, so that bf16 and fp32 shards both start on 4096-byte borders
/// of a file (direct I/O).
inline constexpr int64_t kShardAlignment = 2048;

/// Half-open range of elements.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end > begin ? end - begin : 0; }
};
Range intersect(const Range& a, const Range& b);

/// A parameter inside a unit's flat array.
struct UnitPiece {
  autograd::Parameter* parameter = nullptr;
  int64_t begin = 0;  ///< first element
  Range range() const { return {begin, begin + parameter->shape.elements()}; }
};

/// Parameters that are gathered and released together, laid out one after another in one flat array.
/// Parameters start on 64-element borders; gaps and the tail are zero.
struct Unit {
  int index = 0;
  std::vector<UnitPiece> pieces;
  int64_t elements = 0;  ///< padded to world_size shards of equal size
  int64_t uses = 0;      ///< blocks that use it: how often its gradient arrives in one backward

  int64_t shard_elements(int world_size) const { return elements / world_size; }
  Range shard(int rank, int world_size) const {
    const int64_t n = shard_elements(world_size);
    return {rank * n, (rank + 1) * n};
  }
};

/// All units of a model. Parameters of one block that no other block uses form one unit; parameters that
/// several blocks share (tied embeddings) form units of their own.
class UnitTable {
 public:
  UnitTable(const nn::Model& model, int world_size);

  std::span<const Unit> units() const { return units_; }
  const Unit& unit_of(const autograd::Parameter* parameter) const;
  /// Distinct units that hold `parameters`, in order of first appearance.
  std::vector<int> units_of(std::span<autograd::Parameter* const> parameters) const;
  int world_size() const { return world_size_; }

 private:
  int world_size_;
  std::vector<Unit> units_;
  std::map<const autograd::Parameter*, int> unit_of_;
};

}  // namespace aleph::zero
