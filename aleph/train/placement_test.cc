#include "aleph/train/placement.h"

#include <gmock/gmock.h>

#include "aleph/train/model_setup.h"
#include "aleph/train/runtime.h"
#include "aleph/train/testing.h"
#include "aleph/zero/planner.h"

namespace aleph::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PlacementTest : public ::testing::Test {
 protected:
  PlacementTest() : config_(world_.config()), shape_(model_options(read_model_setup(config_).spec, 16)) {}

  PlacementRequest request() {
    rule_ = make_update_rule(config_);
    return {
        .config = config_, .model = shape_, .rule = *rule_, .batch = {2, 3, 6}, .data_bytes = data_bytes_};
  }
  zero::Plan plan() { return plan_placement(request(), console_); }

  testing::SmallWorld world_;
  TrainConfig config_;
  nn::Model::Options shape_;
  std::unique_ptr<optim::UpdateRule> rule_;
  Console console_{Console::Options{.quiet = true}};
  int64_t data_bytes_ = 0;
};

TEST_F(PlacementTest, EngineOptionsAreThoseOfTheConfiguration) {
  config_.dtype = DType::kBF16;
  config_.optimizer.decay_all = true;
  const zero::EngineOptions options = engine_options(request());
  EXPECT_EQ(options.dtype, DType::kBF16);
  EXPECT_EQ(options.accumulation, 3);
  EXPECT_TRUE(options.decay_all);
  EXPECT_EQ(options.seed, 11u);
}

TEST_F(PlacementTest, WhatTheUserFixedIsKept) {
  config_.placement.nvme_paths = {world_ / "swap"};
  const std::vector<std::pair<Offload, MemoryTier>> tiers = {{Offload::kNone, MemoryTier::kDevice},
                                                             {Offload::kCpu, MemoryTier::kHost},
                                                             {Offload::kNvme, MemoryTier::kNvme}};
  for (size_t i = 0; i < 3; ++i) {
    config_.placement.offload_param = tiers[i].first;
    config_.placement.offload_optimizer = tiers[(i + 1) % 3].first;
    config_.placement.offload_activations = tiers[(i + 2) % 3].first;
    config_.placement.recompute = i % 2 == 0;
    config_.placement.prefetch = static_cast<int64_t>(i);
    const zero::Placement placement = plan().placement;
    EXPECT_EQ(placement.parameters, tiers[i].second);
    EXPECT_EQ(placement.optimizer, tiers[(i + 1) % 3].second);
    EXPECT_EQ(placement.activations, tiers[(i + 2) % 3].second);
    EXPECT_EQ(placement.recompute, i % 2 == 0);
    EXPECT_EQ(placement.prefetch, static_cast<int>(i));
  }
}

TEST_F(PlacementTest, WithoutASwapFolderNothingGoesToNvme) {
  const zero::Plan roomy = plan();
  EXPECT_EQ(roomy.nvme.total, 0);
  config_.placement.device_memory_bytes = roomy.device.total / 2;
  const zero::Plan moved = plan();
  EXPECT_LE(moved.device.total, *config_.placement.device_memory_bytes);
  EXPECT_EQ(moved.nvme.total, 0);
  EXPECT_GT(moved.host.total, roomy.host.total);
}

TEST_F(PlacementTest, TheTokensTakeTheirShareOfTheHostBudget) {
  const zero::Plan roomy = plan();
  config_.placement.device_memory_bytes = roomy.device.total / 2;
  const int64_t needed = plan().host.total;
  config_.placement.host_memory_bytes = needed + 100'000;
  data_bytes_ = 100'000;
  EXPECT_LE(plan().host.total, needed + 100'000) << "exactly enough";
  data_bytes_ = needed + 100'000;
  EXPECT_THAT(fault_of([&] { plan(); }),
              AllOf(HasSubstr("--host-memory: found"), HasSubstr("more than the tokens take")));
}

TEST_F(PlacementTest, AnImpossibleBudgetIsRefusedWithBothFlags) {
  config_.placement.device_memory_bytes = 4096;
  config_.placement.host_memory_bytes = 1 << 20;
  EXPECT_THAT(fault_of([&] { plan(); }), AllOf(HasSubstr("memory plan"), HasSubstr("--device-memory 4.0 KiB"),
                                               HasSubstr("--host-memory 1.0 MiB")));
}

TEST_F(PlacementTest, ARunStaysWithinTheBudgetsItWasPlannedFor) {
  // The planned peaks as hard budgets of the pools: a byte more than planned would be refused.
  config_.placement.nvme_paths = {world_ / "swap"};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    config_.dtype = dtype;
    config_.placement.device_memory_bytes.reset();
    config_.placement.host_memory_bytes.reset();
    const int64_t most = plan().device.total;
    for (const int64_t part : {100, 60, 45}) {
      config_.placement.device_memory_bytes = most * part / 100;
      const zero::Plan planned = plan();
      EXPECT_LE(planned.device.total, most * part / 100);
      TrainConfig exact = config_;
      exact.placement.device_memory_bytes = planned.device.total;
      exact.placement.host_memory_bytes = std::max<int64_t>(planned.host.total, 4096);
      Runtime runtime(exact);
      runtime.open_swap(exact, planned.placement);
      nn::Model model(runtime.device(), shape_);
      zero::EngineOptions options = engine_options(request());
      options.placement = planned.placement;
      zero::Engine engine(runtime.engine_context(), model, *rule_, options);
      engine.load_parameters(zero::Engine::random_initializer(runtime.device(), 1));
      const std::vector<int32_t> ids(32, 5);
      for (int64_t step = 1; step <= 2; ++step) {
        for (int64_t i = 0; i < 3; ++i) engine.backward({.ids = ids, .rows = 2, .seq = 16}, i, i, 1);
        (void)engine.gradient_norm(1);
        engine.update({.step = step, .learning_rate = 0.1});
      }
      (void)engine.evaluate({.ids = ids, .rows = 2, .seq = 16});
      engine.for_each_parameter([](const autograd::Parameter&, const ConstTensorView&) {});
      EXPECT_EQ(runtime.device().memory().ledger().peak(), planned.device.total) << part;
      EXPECT_EQ(runtime.nvme().peak(), planned.nvme.total) << part;
    }
  }
}

TEST(RuntimeTest, OneRankAndItsBudgets) {
  const testing::SmallWorld world;
  TrainConfig config = world.config();
  config.ranks = 2;
  EXPECT_THAT(fault_of([&] { Runtime runtime(config); }), HasSubstr("--ranks: found 2, expected 1"));
  config.ranks = 1;
  config.placement.host_memory_bytes = 10'000;
  Runtime runtime(config);
  EXPECT_EQ(runtime.communicator().size(), 1);
  EXPECT_EQ(runtime.device().host_memory().ledger().budget(), 10'000);
  EXPECT_EQ(runtime.swap_stats().busy_seconds, 0);
}

TEST(RuntimeTest, SwapFilesComeWhereTheyAreAskedForAndGo) {
  const testing::SmallWorld world;
  TrainConfig config = world.config();
  const auto entries = [&](const std::filesystem::path& directory) {
    return std::distance(std::filesystem::directory_iterator(directory), {});
  };
  {
    Runtime runtime(config);
    runtime.open_swap(config, {});
    EXPECT_EQ(runtime.engine_context().swap, nullptr) << "nothing needs it";
    runtime.open_swap(config, {.activations = MemoryTier::kNvme});
    EXPECT_NE(runtime.engine_context().swap, nullptr);
    EXPECT_EQ(entries(config.save.output_dir / "swap"), 1);
  }
  EXPECT_EQ(entries(config.save.output_dir / "swap"), 0);
  config.placement.nvme_paths = {world / "a", world / "b"};
  config.placement.io_queue_depth = 3;
  config.placement.io_block_bytes = 8192;
  Runtime runtime(config);
  runtime.open_swap(config, {.optimizer = MemoryTier::kNvme});
  EXPECT_EQ(entries(world / "a") + entries(world / "b"), 2);
  EXPECT_EQ(runtime.engine_context().swap->options().queue_depth, 3);
  EXPECT_EQ(runtime.engine_context().swap->options().block_bytes, 8192);
  config.placement.nvme_paths = {world.write("file", "x")};
  EXPECT_THAT(fault_of([&] { Runtime(config).open_swap(config, {.parameters = MemoryTier::kNvme}); }),
              HasSubstr((world / "file").string()));
}

}  // namespace
}  // namespace aleph::train
