// Where the weights of a model go, decided and refused before anything is loaded.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "aleph/infer/weight_units.h"
#include "aleph/models/transformer_spec.h"
#include "aleph/tensor/memory_pool.h"

namespace aleph::infer {

/// Peak bytes of a run, by tier; those of the device also by tag.
struct MemoryNeed {
  int64_t device_bytes = 0;
  int64_t host_bytes = 0;
  std::array<int64_t, kMemoryTags> device_by_tag{};
};

struct PlacementRequest {
  const models::TransformerSpec* spec = nullptr;
  DType dtype = DType::kF32;
  int64_t prompt_tokens = 1;
  int64_t capacity = 1;             ///< tokens of the longest sequence
  std::optional<WeightHome> home;   ///< not given: the first that fits of device, host and NVMe
  int64_t device_budget_bytes = 0;  ///< 0: no limit
  int64_t system_bytes = 0;         ///< what both tiers share, only for the choice of a home; 0: not known
};

/// What Model needs with this home: found by running it on a device that only books memory.
MemoryNeed measure_memory(const PlacementRequest& request, WeightHome home);

struct Placement {
  WeightHome home = WeightHome::kDevice;
  MemoryNeed need;
};
/// Throws Error saying what needs how much, and which flag helps, when nothing fits.
Placement choose_placement(const PlacementRequest& request);

}  // namespace aleph::infer
