#include "aleph/train/placement.h"

#include "aleph/base/system_memory.h"
#include "aleph/base/text_util.h"

namespace aleph::train {

namespace {

std::optional<MemoryTier> tier_of(const std::optional<Offload>& offload) {
  if (!offload) return std::nullopt;
  if (*offload == Offload::kNone) return MemoryTier::kDevice;
  return *offload == Offload::kCpu ? MemoryTier::kHost : MemoryTier::kNvme;
}

void require_room_for(int64_t tokens_bytes, const std::optional<int64_t>& host_budget) {
  if (host_budget && *host_budget <= tokens_bytes)
    throw Error("--host-memory", format_bytes(*host_budget),
                "more than the tokens take: " + format_bytes(tokens_bytes));
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
  require_room_for(request.data_bytes, fixed.host_memory_bytes);
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
                         .host_budget = fixed.host_memory_bytes.value_or(0),
                         .host_taken = request.data_bytes};
  // Budgets that are given are taken at their word. The tokens are in memory by now.
  const int64_t usable = usable_memory_bytes();
  if (usable > 0 && (!fixed.device_memory_bytes || !fixed.host_memory_bytes))
    plan.together_budget = usable + request.data_bytes;
  if (fixed.prefetch) plan.prefetch = static_cast<int>(*fixed.prefetch);
  const zero::Plan chosen = zero::make_plan(plan);
  console.line(describe_plan(chosen));
  return chosen;
}

}  // namespace aleph::train
