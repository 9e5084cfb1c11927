// The options that must never change a number, and runs that compare them.
#pragma once

#include <string>
#include <vector>

#include "tests/support/tiny_run.h"

namespace aleph::tests {

/// One way to place the states of a run.
struct Placed {
  train::Offload parameters = train::Offload::kNone;
  train::Offload optimizer = train::Offload::kNone;
  train::Offload activations = train::Offload::kNone;
  int64_t prefetch = 1;
  bool recompute = true;

  /// "nvme-cpu-none-prefetch3-recompute"
  std::string name() const;
};

/// Every combination.
std::vector<Placed> all_placements();
/// A few that together contain every pair of values of any two options.
std::vector<Placed> covering_placements();

/// What the numbers may depend on.
struct Numerics {
  TinyWorld::Family family = TinyWorld::Family::kGpt2;
  DType dtype = DType::kF32;
  int64_t accumulation = 1;
  bool clip = true;  ///< without clipping updates run in backward
  std::string name() const;
};
std::vector<Numerics> all_numerics();

/// Trains once with everything on the device, then with each placement, and expects equal losses, gradient
/// norms, weights, master weights and moments, to the last bit. Each run gets the budgets of its plan: one
/// byte over them would end it.
void expect_equal_runs(const Numerics& numerics, const std::vector<Placed>& placements);

}  // namespace aleph::tests
