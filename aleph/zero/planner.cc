#include "aleph/zero/planner.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "aleph/base/interrupt.h"
#include "aleph/base/text_util.h"

namespace aleph::zero {
namespace {

constexpr std::array<int64_t, 6> kChunks = {int64_t{1} << 20, int64_t{1} << 19, int64_t{1} << 18,
                                            int64_t{1} << 17, int64_t{1} << 16, int64_t{1} << 14};
constexpr std::array<int, 3> kPrefetch = {2, 1, 0};

/// Stands in for a group of any size: exchanges nothing.
class MetaCommunicator final : public comm::Communicator {
 public:
  explicit MetaCommunicator(int size) : size_(size) {}
  int rank() const override { return 0; }
  int size() const override { return size_; }
  void all_gather(const TensorView& /*all*/) override {}
  void reduce_scatter(const TensorView& /*all*/) override {}
  double all_reduce_sum(double value) override { return value; }
  double all_reduce_max(double value) override { return value; }
  void barrier() override {}

 private:
  int size_;
};

TierPeak peak_of(const MemoryLedger& ledger) {
  TierPeak peak{.total = ledger.peak()};
  for (size_t tag = 0; tag < kMemoryTags; ++tag) peak.by_tag[tag] = ledger.peak(static_cast<MemoryTag>(tag));
  return peak;
}

/// The first, one between two others, and the last: all others are like the one between.
int64_t planned_accumulation(const PlanRequest& request) {
  return std::min<int64_t>(3, request.options.accumulation);
}

void run_step(Engine& engine, const PlanRequest& request) {
  engine.load_parameters([](const autograd::Parameter&, const TensorView&) {});
  const MicroBatch batch{.rows = request.rows, .seq = request.seq};
  const bool in_backward = request.options.update_in_backward;
  const int64_t micro_batches = planned_accumulation(request);
  for (int64_t index = 0; index < micro_batches; ++index) {
    if (in_backward && index + 1 == micro_batches) engine.begin_update({});
    engine.backward(batch, index, index, 1);
  }
  (void)engine.gradient_norm(1);
  in_backward ? engine.end_update() : engine.update({});
  engine.backward(batch, 0, 0, 1);  // the update may run in this forward pass
  engine.skip_update();
  engine.evaluate(batch);
  engine.for_each_parameter([](const autograd::Parameter&, const ConstTensorView&) {});
}

bool fits(const PlanRequest& request, const Plan& plan) {
  return (request.device_budget == 0 || plan.device.total <= request.device_budget) &&
         (request.host_budget == 0 || plan.host.total <= request.host_budget) &&
         (request.together_budget == 0 || plan.device.total + plan.host.total <= request.together_budget);
}

template <typename T>
std::vector<T> choices(const std::optional<T>& fixed, std::vector<T> all) {
  return fixed ? std::vector<T>{*fixed} : std::move(all);
}

std::vector<MemoryTier> tiers(const std::optional<MemoryTier>& fixed, bool nvme) {
  if (!nvme) return choices(fixed, {MemoryTier::kDevice, MemoryTier::kHost});
  return choices(fixed, {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme});
}

/// Bytes that cross a slower link, roughly: what orders candidates from fast to slow.
int cost(const Placement& placement) {
  const auto weight = [](MemoryTier tier, int host, int nvme) {
    return tier == MemoryTier::kDevice ? 0 : tier == MemoryTier::kHost ? host : nvme;
  };
  return weight(placement.optimizer, 3, 120) + weight(placement.parameters, 2, 40) +
         weight(placement.activations, 1, 20) + (placement.recompute ? 10 : 0);
}

/// Every combination of homes and recomputation that the request leaves open, fastest first.
std::vector<Placement> candidates(const PlanRequest& request) {
  std::vector<Placement> all;
  for (const MemoryTier optimizer : tiers(request.optimizer, request.nvme)) {
    for (const MemoryTier parameters : tiers(request.parameters, request.nvme)) {
      for (const MemoryTier activations : tiers(request.activations, request.nvme)) {
        for (const bool recompute : choices(request.recompute, {false, true})) {
          all.push_back({.parameters = parameters,
                         .optimizer = optimizer,
                         .activations = activations,
                         .recompute = recompute});
        }
      }
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Placement& a, const Placement& b) { return cost(a) < cost(b); });
  return all;
}

Placement smallest(const PlanRequest& request, Placement placement) {
  placement.prefetch = request.prefetch.value_or(0);
  placement.update_chunk_elements = kChunks.back();
  return placement;
}

/// The largest update chunk, then the deepest prefetch, that still fit.
Plan enlarge(const PlanRequest& request, Placement placement, Plan plan) {
  for (const int prefetch : choices(request.prefetch, {kPrefetch.begin(), kPrefetch.end()})) {
    for (const int64_t chunk : kChunks) {
      placement.prefetch = prefetch;
      placement.update_chunk_elements = chunk;
      const Plan larger = dry_run(request, placement);
      if (fits(request, larger)) return larger;
    }
  }
  return plan;
}

/// How far a plan is over the budgets.
int64_t excess(const PlanRequest& request, const Plan& plan) {
  const auto over = [](int64_t need, int64_t budget) {
    return budget == 0 ? 0 : std::max<int64_t>(0, need - budget);
  };
  return std::max(over(plan.device.total, request.device_budget) + over(plan.host.total, request.host_budget),
                  over(plan.device.total + plan.host.total, request.together_budget));
}

std::string budget_words(int64_t budget) { return budget == 0 ? "no limit" : format_bytes(budget); }

PlanError refuse(const PlanRequest& request, const Plan& best) {
  const std::string needs = fmt::format("at least {} of device and {} of host memory needed",
                                        format_bytes(best.device.total), format_bytes(best.host.total));
  const std::string budgets =
      fmt::format("--device-memory {} and --host-memory {} to hold them", budget_words(request.device_budget),
                  budget_words(request.host_budget));
  const bool machine =
      request.together_budget > 0 && best.device.total + best.host.total > request.together_budget;
  const std::string room = machine ? fmt::format("at most the {} that this machine has left",
                                                 format_bytes(request.together_budget))
                                   : budgets;
  return {fmt::format("memory plan: found {}, expected {} (a smaller batch or sequence{} would need less)",
                      needs, room, request.nvme ? "" : ", or states on NVMe with --nvme-path,"),
          plan_table(request, best)};
}

}  // namespace

Plan dry_run(const PlanRequest& request, const Placement& placement) {
  stop_if_interrupted();
  DeviceContext device({.kind = DeviceKind::kMeta});
  MemoryLedger nvme(MemoryTier::kNvme, 0);
  MetaCommunicator communicator(request.world_size);
  device.host_memory().ledger().add(request.host_taken, MemoryTag::kWorkspace);
  {
    nn::Model model(device, request.model);
    EngineOptions options = request.options;
    options.placement = placement;
    options.accumulation = planned_accumulation(request);
    Engine engine({.device = device, .nvme = nvme, .communicator = communicator}, model, request.rule,
                  options);
    run_step(engine, request);
  }
  return {.placement = placement,
          .device = peak_of(device.memory().ledger()),
          .host = peak_of(device.host_memory().ledger()),
          .nvme = peak_of(nvme)};
}

std::string plan_table(const PlanRequest& request, const Plan& plan) {
  std::string table = fmt::format("{:<14}{:>12}{:>12}{:>12}\n", "peak bytes", "device", "host", "nvme");
  for (size_t tag = 0; tag < kMemoryTags; ++tag) {
    if (plan.device.by_tag[tag] + plan.host.by_tag[tag] + plan.nvme.by_tag[tag] == 0) continue;
    table += fmt::format("{:<14}{:>12}{:>12}{:>12}\n", memory_tag_name(static_cast<MemoryTag>(tag)),
                         format_bytes(plan.device.by_tag[tag]), format_bytes(plan.host.by_tag[tag]),
                         format_bytes(plan.nvme.by_tag[tag]));
  }
  table += fmt::format("{:<14}{:>12}{:>12}{:>12}\n", "together", format_bytes(plan.device.total),
                       format_bytes(plan.host.total), format_bytes(plan.nvme.total));
  table += fmt::format("{:<14}{:>12}{:>12}{:>12}", "budget", budget_words(request.device_budget),
                       budget_words(request.host_budget), "-");
  return table;
}

Plan make_plan(const PlanRequest& request) {
  std::optional<Plan> least;
  for (const Placement& candidate : candidates(request)) {
    const Placement small = smallest(request, candidate);
    const Plan plan = dry_run(request, small);
    if (fits(request, plan)) return enlarge(request, small, plan);
    if (!least || excess(request, plan) < excess(request, *least)) least = plan;
  }
  throw refuse(request, *least);
}

}  // namespace aleph::zero
