// Where the states of a run live: what the user fixed, and the planner's choice for the rest.
#pragma once

#include "aleph/base/log.h"
#include "aleph/train/config.h"
#include "aleph/zero/planner.h"

namespace aleph::train {

/// The part of a plan that does not come from the flags of placement.
struct PlacementRequest {
  const TrainConfig& config;
  const nn::Model::Options& model;
  const optim::UpdateRule& rule;
  BatchShape batch;
  int world_size = 1;
  int64_t data_bytes = 0;  ///< of host memory that the tokens take
};

/// Whether nothing that is known only after backward decides about updates: no clipping, no loss scaling.
bool updates_in_backward(const TrainConfig& config);
zero::EngineOptions engine_options(const PlacementRequest& request);
/// Says in one line where everything lives and the peaks that were planned. Throws zero::PlanError where
/// nothing fits the budgets.
zero::Plan plan_placement(const PlacementRequest& request, Console& console);

}  // namespace aleph::train
