// Memory planned before the run. Candidate placements are tried on a meta device: a whole step with every
// allocation booked and nothing computed, so a plan's peaks are those of the real run.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "aleph/nn/transformer.h"
#include "aleph/optim/update_rule.h"
#include "aleph/zero/engine.h"

namespace aleph::zero {

/// Peak bytes of one tier.
struct TierPeak {
  int64_t total = 0;
  std::array<int64_t, kMemoryTags> by_tag{};
};

struct PlanRequest {
  const nn::Model::Options& model;
  const optim::UpdateRule& rule;
  EngineOptions options;  ///< its placement is what the plan decides
  int64_t rows = 1;       ///< of a micro-batch
  int64_t seq = 1;
  int world_size = 1;

  // What the user fixed; the planner chooses the rest, fastest first.
  std::optional<MemoryTier> parameters, optimizer, activations;
  std::optional<int> prefetch;
  std::optional<bool> recompute;
  bool nvme = false;          ///< a swap folder is there
  int64_t device_budget = 0;  ///< bytes; 0: no limit
  int64_t host_budget = 0;
  int64_t host_taken = 0;  ///< bytes of host memory that the run holds beside the engine; part of the plan
  int64_t together_budget = 0;  ///< of device and host memory in sum: what the machine has; 0: no limit
};

struct Plan {
  Placement placement;
  TierPeak device, host, nvme;
};

/// The peaks of one placement: load, two micro-batches, update, evaluation and saving.
Plan dry_run(const PlanRequest& request, const Placement& placement);

/// What needs how much, as lines of text: a row per tag, a column per tier, and the budgets.
std::string plan_table(const PlanRequest& request, const Plan& plan);

/// No placement fits. `table()` shows the one that needs least.
class PlanError : public Error {
 public:
  PlanError(const std::string& line, std::string table) : Error(line), table_(std::move(table)) {}
  const std::string& table() const { return table_; }

 private:
  std::string table_;
};

/// The first placement that fits. Throws PlanError.
Plan make_plan(const PlanRequest& request);

}  // namespace aleph::zero
