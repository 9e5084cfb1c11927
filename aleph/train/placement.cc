#include "aleph/train/placement.h"

#include <algorithm>

#include "aleph/base/system_memory.h"
#include "aleph/base/text_util.h"

namespace aleph::train {

namespace {

std::optional<MemoryTier> tier_of(const std::optional<Offload>& offload) {
  if (!offload) return std::nullopt;
  if (*offload == Offload::kNone) return MemoryTier::kDevice;
  return *offload == Offload::kCpu ? MemoryTier::kHost : MemoryTier::kNvme;
}

/// What is left of a budget; 0: no limit.
int64_t budget_beside(const std::optional<int64_t>& budget, int64_t taken) {
  if (budget && *budget <= taken)
    throw Error("--host-memory", format_bytes(*budget), "more than the tokens take: " + format_bytes(taken));
  return budget ? *budget - taken : 0;
}

std::string describe_plan(const zero::Plan& plan) {
  const zero::Placement& place = plan.placement;
  return fmt::format(
      "plan: parameters on {}, optimizer on {}, activations on {}, prefetch {}, recompute {}; peaks device "
      "{}, host {}, "
      "nvme {}",
      memory_tier_name(place.parameters), memory_tier_name(place.optimizer),
      memory_tier_name(place.activations), place.prefetch, place.recompute ? "on" : "off",
      format_bytes(plan.device.total), format_bytes(plan.host.total), format_bytes(plan.nvme.total));
}

}  // namespace

bool updates_in_backward(const TrainConfig& config) {
  return config.grad_clip == 0 && config.dtype != DType::kF16;
}

zero::EngineOptions engine_options(const PlacementRequest& request) {
  return {.dtype = request.config.dtype,
          .accumulation = request.batch.gradient_accumulation,
          .decay_all = request.config.optimizer.decay_all,
          .seed = request.config.seed,
          .update_in_backward = updates_in_backward(request.config)};
}

zero::Plan plan_placement(const PlacementRequest& request, Console& console) {
  const PlacementConfig& fixed = request.config.placement;
  zero::PlanRequest plan{.model = request.model,
                         .rule = request.rule,
                         .options = engine_options(request),
                         .rows = request.batch.micro_batch,
                         .seq = request.config.data.seq_len,
                         .world_size = request.world_size,
                         .parameters = tier_of(fixed.offload_param),
                         .optimizer = tier_of(fixed.offload_optimizer),
                         .activations = tier_of(fixed.offload_activations),
                         .recompute = fixed.recompute,
                         .nvme = !fixed.nvme_paths.empty(),
                         .device_budget = fixed.device_memory_bytes.value_or(0),
                         .host_budget = budget_beside(fixed.host_memory_bytes, request.data_bytes)};
  // Budgets that are given are taken at their word.
  if (!fixed.device_memory_bytes || !fixed.host_memory_bytes)
    plan.together_budget = std::max<int64_t>(0, usable_memory_bytes() - request.data_bytes);
  if (fixed.prefetch) plan.prefetch = static_cast<int>(*fixed.prefetch);
  const zero::Plan chosen = zero::make_plan(plan);
  console.line(describe_plan(chosen));
  return chosen;
}

}  // namespace aleph::train
