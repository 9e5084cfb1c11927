#include "tests/support/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "aleph/train/model_setup.h"
#include "aleph/train/placement.h"
#include "aleph/train/run_data.h"

namespace aleph::tests {

namespace {

using train::Offload;

constexpr Offload kOffloads[] = {Offload::kNone, Offload::kCpu, Offload::kNvme};
constexpr int64_t kPrefetches[] = {0, 1, 3};

train::TrainConfig placed_config(const TinyWorld& world, const Numerics& numerics, const Placed& placed) {
  train::TrainConfig config = world.config(numerics.name() + "-" + placed.name());
  config.dtype = numerics.dtype;
  config.gradient_accumulation = numerics.accumulation;
  if (!numerics.clip) config.grad_clip = 0;
  config.steps = 4;
  config.save.save_steps = 4;
  config.placement.offload_param = placed.parameters;
  config.placement.offload_optimizer = placed.optimizer;
  config.placement.offload_activations = placed.activations;
  config.placement.prefetch = placed.prefetch;
  config.placement.recompute = placed.recompute;
  return config;
}

/// The budgets that the plan of this run needs, to the byte. Flags take no less than a MiB.
void give_planned_budgets(train::TrainConfig& config) {
  const train::ModelSetup setup = train::read_model_setup(config);
  const train::BatchShape batch = train::resolve_batch(config, 1);
  MemoryLedger ledger(MemoryTier::kHost, 0);
  const train::RunData data(config, setup.spec, batch, 1, ledger);
  const auto rule = train::make_update_rule(config);
  const nn::Model::Options shape = train::model_options(setup.spec, config.data.seq_len);
  Console quiet({.quiet = true});
  const zero::Plan plan = train::plan_placement({config, shape, *rule, batch, 1, data.bytes()}, quiet);
  config.placement.device_memory_bytes = std::max<int64_t>(1 << 20, plan.device.total);
  config.placement.host_memory_bytes = std::max<int64_t>(1 << 20, plan.host.total);
}

/// All pairs "option i has value a and option j has value b" of a placement.
std::set<std::string> pairs_of(const Placed& placed) {
  const std::string values[] = {std::string("p-") + train::offload_name(placed.parameters),
                                std::string("o-") + train::offload_name(placed.optimizer),
                                std::string("a-") + train::offload_name(placed.activations),
                                "f-" + std::to_string(placed.prefetch), placed.recompute ? "r-on" : "r-off"};
  std::set<std::string> pairs;
  for (size_t i = 0; i < std::size(values); ++i)
    for (size_t j = i + 1; j < std::size(values); ++j) pairs.insert(values[i] + values[j]);
  return pairs;
}

size_t missing_from(const std::set<std::string>& covered, const Placed& placed) {
  const std::set<std::string> pairs = pairs_of(placed);
  return static_cast<size_t>(
      std::count_if(pairs.begin(), pairs.end(), [&](const auto& pair) { return !covered.contains(pair); }));
}

}  // namespace

std::string Placed::name() const {
  return fmt::format("{}-{}-{}-prefetch{}-{}", train::offload_name(parameters),
                     train::offload_name(optimizer), train::offload_name(activations), prefetch,
                     recompute ? "recompute" : "keep");
}

std::vector<Placed> all_placements() {
  std::vector<Placed> all;
  for (Offload parameters : kOffloads)
    for (Offload optimizer : kOffloads)
      for (Offload activations : kOffloads)
        for (int64_t prefetch : kPrefetches)
          for (bool recompute : {true, false})
            all.push_back({parameters, optimizer, activations, prefetch, recompute});
  return all;
}

std::vector<Placed> covering_placements() {
  const std::vector<Placed> all = all_placements();
  std::vector<Placed> chosen;
  std::set<std::string> covered;
  while (true) {
    const auto best = std::max_element(all.begin(), all.end(), [&](const Placed& a, const Placed& b) {
      return missing_from(covered, a) < missing_from(covered, b);
    });
    if (missing_from(covered, *best) == 0) return chosen;
    chosen.push_back(*best);
    covered.merge(pairs_of(*best));
  }
}

std::string Numerics::name() const {
  return fmt::format("{}_{}_accumulation{}{}", family == TinyWorld::Family::kGpt2 ? "gpt2" : "llama",
                     dtype_name(dtype), accumulation, clip ? "" : "_unclipped");
}

std::vector<Numerics> all_numerics() {
  std::vector<Numerics> all;
  for (TinyWorld::Family family : {TinyWorld::Family::kGpt2, TinyWorld::Family::kLlama})
    for (DType dtype : {DType::kF32, DType::kBF16})
      for (int64_t accumulation : {1, 4}) all.push_back({family, dtype, accumulation});
  all.push_back({TinyWorld::Family::kGpt2, DType::kBF16, 4, false});
  all.push_back({TinyWorld::Family::kLlama, DType::kF32, 1, false});
  return all;
}

void expect_equal_runs(const Numerics& numerics, const std::vector<Placed>& placements) {
  const TinyWorld world(numerics.family);
  const RunResult expected = run(placed_config(world, numerics, Placed{}));
  ASSERT_EQ(expected.losses.size(), 4u);
  ASSERT_FALSE(expected.state.empty());
  EXPECT_LT(expected.losses.back(), expected.losses.front());
  for (const Placed& placed : placements) {
    SCOPED_TRACE(placed.name());
    train::TrainConfig config = placed_config(world, numerics, placed);
    config.save.overwrite = true;
    give_planned_budgets(config);
    const RunResult result = run(config);
    EXPECT_EQ(result.losses, expected.losses);
    EXPECT_EQ(result.norms, expected.norms);
    EXPECT_TRUE(result.weights == expected.weights) << "the saved weights differ";
    EXPECT_TRUE(result.state == expected.state) << "master weights or moments differ";
  }
}

}  // namespace aleph::tests
