// Plans over random budgets, models and worlds: within the budgets, what the user fixed kept, and the peaks
// those of a run.
#include "aleph/zero/planner.h"

#include <gmock/gmock.h>

#include "aleph/zero/partition.h"
#include "aleph/zero/testing.h"

namespace aleph::zero {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::small_model;
using testing::ThreadGroup;
using testing::token_ids;

class PlannerOfWorlds : public ::testing::Test {
 protected:
  PlanRequest request(DType dtype = DType::kF32, int64_t accumulation = 4) {
    return {.model = model_,
            .rule = *rule_,
            .options = {.dtype = dtype, .accumulation = accumulation},
            .rows = 2,
            .seq = 11,
            .nvme = true};
  }
  /// A step, an evaluation and a save of every rank under `plan`, with its peaks as hard budgets.
  void run_within(const Plan& plan, const PlanRequest& request) {
    ThreadGroup group(request.world_size);
    group.run([&](comm::Communicator& communicator) {
      const io::TemporaryDirectory directory;
      DeviceContext device({.device_budget_bytes = std::max<int64_t>(plan.device.total, 1),
                            .host_budget_bytes = std::max<int64_t>(plan.host.total, 1)});
      MemoryLedger nvme(MemoryTier::kNvme, std::max<int64_t>(plan.nvme.total, 1));
      SwapSpace swap({.directories = {directory.path()}, .rank = communicator.rank()});
      nn::Model model(device, request.model);
      EngineOptions options = request.options;
      options.placement = plan.placement;
      Engine engine({.device = device, .nvme = nvme, .communicator = communicator, .swap = &swap}, model,
                    *rule_, options);
      engine.load_parameters(Engine::random_initializer(device, 1));
      const std::vector<int32_t> ids = token_ids(2 * 11, 1);
      const MicroBatch batch{.ids = ids, .rows = 2, .seq = 11};
      for (int64_t step = 1; step <= 2; ++step) {
        for (int64_t i = 0; i < request.options.accumulation; ++i) engine.backward(batch, i, i, 1);
        (void)engine.gradient_norm(1);
        engine.update({.step = step, .learning_rate = 0.01});
      }
      engine.evaluate(batch);
      engine.for_each_parameter([](const autograd::Parameter&, const ConstTensorView&) {});
      EXPECT_EQ(device.memory().ledger().peak(), plan.device.total);
      EXPECT_EQ(device.host_memory().ledger().peak(), plan.host.total);
      EXPECT_EQ(nvme.peak(), plan.nvme.total);
      for (size_t tag = 0; tag < kMemoryTags; ++tag) {
        EXPECT_EQ(device.memory().ledger().peak(static_cast<MemoryTag>(tag)), plan.device.by_tag[tag])
            << memory_tag_name(static_cast<MemoryTag>(tag));
        EXPECT_EQ(device.host_memory().ledger().peak(static_cast<MemoryTag>(tag)), plan.host.by_tag[tag]);
      }
    });
  }

  nn::Model::Options model_ = small_model();
  std::unique_ptr<optim::UpdateRule> rule_ = optim::make_adam({});
};

TEST_F(PlannerOfWorlds, RandomBudgetsAreKeptOrRefused) {
  const RandomStream random({.seed = 31});
  const Plan roomy = make_plan(request());
  int planned = 0, refused = 0;
  for (uint64_t i = 0; i < 60; ++i) {
    PlanRequest tight = request(i % 2 == 0 ? DType::kF32 : DType::kBF16);
    tight.nvme = i % 3 != 0;
    const auto most = static_cast<uint64_t>(roomy.device.total);
    tight.device_budget = static_cast<int64_t>(random.below(most, 4 * i)) + 1;
    tight.host_budget = i % 5 == 0 ? 0 : static_cast<int64_t>(random.below(2 * most, 4 * i + 2)) + 1;
    try {
      const Plan plan = make_plan(tight);
      ++planned;
      EXPECT_LE(plan.device.total, tight.device_budget);
      EXPECT_TRUE(tight.host_budget == 0 || plan.host.total <= tight.host_budget);
      EXPECT_TRUE(tight.nvme || plan.nvme.total == 0);
      const Plan again = dry_run(tight, plan.placement);
      EXPECT_EQ(again.device.total, plan.device.total);
      EXPECT_EQ(again.host.by_tag, plan.host.by_tag);
    } catch (const PlanError& error) {
      ++refused;
      EXPECT_THAT(error.what(), HasSubstr("memory plan: found at least"));
      EXPECT_EQ(std::string(error.what()).find("--nvme-path") == std::string::npos, tight.nvme);
      EXPECT_THAT(error.table(), AllOf(HasSubstr("together"), HasSubstr("budget")));
    }
  }
  EXPECT_GT(planned, 10);
  EXPECT_GT(refused, 5);
}

TEST_F(PlannerOfWorlds, APlanHoldsAsABudgetOfTheRun) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t part : {100, 70, 55}) {
      PlanRequest tight = request(dtype);
      tight.device_budget = make_plan(tight).device.total * part / 100;
      run_within(make_plan(tight), tight);
    }
  }
}

TEST_F(PlannerOfWorlds, PlansOfManyRanksAreThoseOfEachRank) {
  for (const int world : {2, 3}) {
    for (const MemoryTier tier : {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme}) {
      PlanRequest ranks = request(DType::kBF16);
      ranks.world_size = world;
      ranks.parameters = ranks.optimizer = ranks.activations = tier;
      const Plan plan = make_plan(ranks);
      run_within(plan, ranks);
      PlanRequest alone = ranks;
      alone.world_size = 1;
      const Plan whole = dry_run(alone, plan.placement);
      const auto states = [&](const Plan& p) {
        const TierPeak& peak = tier == MemoryTier::kDevice ? p.device
                               : tier == MemoryTier::kHost ? p.host
                                                           : p.nvme;
        return peak.by_tag[static_cast<size_t>(MemoryTag::kOptimizer)];
      };
      EXPECT_LT(states(plan), states(whole)) << "every rank keeps its part";
    }
  }
}

TEST_F(PlannerOfWorlds, WhatTheMachineHasBoundsBothTiersTogether) {
  PlanRequest open = request();
  const Plan roomy = make_plan(open);
  open.together_budget = roomy.device.total + roomy.host.total;
  EXPECT_EQ(make_plan(open).device.total, roomy.device.total);
  open.together_budget -= 1;
  try {
    const Plan tighter = make_plan(open);
    EXPECT_LE(tighter.device.total + tighter.host.total, open.together_budget);
  } catch (const PlanError& error) {
    EXPECT_THAT(error.what(), HasSubstr("that this machine has left"));
  }
  open.together_budget = 4096;
  EXPECT_THAT(fault_of([&] { make_plan(open); }), HasSubstr("that this machine has left"));
}

TEST_F(PlannerOfWorlds, OneByteLessThanTheLeastIsRefused) {
  PlanRequest fixed = request();
  fixed.parameters = fixed.optimizer = fixed.activations = MemoryTier::kHost;
  fixed.recompute = true;
  fixed.prefetch = 0;
  const Plan least = dry_run(fixed, {.parameters = MemoryTier::kHost,
                                     .optimizer = MemoryTier::kHost,
                                     .activations = MemoryTier::kHost,
                                     .prefetch = 0,
                                     .recompute = true,
                                     .update_chunk_elements = int64_t{1} << 14});
  fixed.device_budget = least.device.total;
  fixed.host_budget = least.host.total;
  EXPECT_NO_THROW(make_plan(fixed));
  fixed.device_budget -= 1;
  EXPECT_THAT(fault_of([&] { make_plan(fixed); }), HasSubstr("--device-memory"));
  fixed.device_budget += 1;
  fixed.host_budget -= 1;
  EXPECT_THAT(fault_of([&] { make_plan(fixed); }), HasSubstr("--host-memory"));
}

TEST_F(PlannerOfWorlds, MorePrefetchNeverNeedsLess) {
  for (const MemoryTier tier : {MemoryTier::kHost, MemoryTier::kNvme}) {
    Placement placement{.parameters = tier, .optimizer = tier, .activations = tier, .prefetch = 0};
    int64_t before = 0;
    for (const int prefetch : {0, 1, 2, 3, 100}) {
      placement.prefetch = prefetch;
      const int64_t peak = dry_run(request(), placement).device.total;
      EXPECT_GE(peak, before) << prefetch;
      before = peak;
    }
  }
}

TEST_F(PlannerOfWorlds, TheTableNamesWhatIsUsed) {
  PlanRequest tight = request();
  tight.device_budget = int64_t{1} << 20;
  const Plan plan = dry_run(tight, {.parameters = MemoryTier::kNvme, .optimizer = MemoryTier::kHost});
  const std::string table = plan_table(tight, plan);
  for (const char* word : {"parameters", "gradients", "optimizer", "activations", "device", "host", "nvme",
                           "1.0 MiB", "no limit"})
    EXPECT_THAT(table, HasSubstr(word));
  EXPECT_EQ(table.find("kv_cache"), std::string::npos) << "rows of nothing are left out";
}

}  // namespace
}  // namespace aleph::zero
