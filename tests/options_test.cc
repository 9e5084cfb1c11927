// Placement never changes the numbers: a covering part of the full product in slow/option_matrix_test.cc.
#include "tests/support/options.h"

#include <gtest/gtest.h>

namespace aleph::tests {
namespace {

class Options : public ::testing::TestWithParam<Numerics> {};

TEST_P(Options, PlacementNeverChangesTheNumbers) { expect_equal_runs(GetParam(), covering_placements()); }

INSTANTIATE_TEST_SUITE_P(Integration, Options, ::testing::ValuesIn(all_numerics()),
                         [](const auto& case_info) { return case_info.param.name(); });

TEST(OptionsTest, NumbersDependOnTheSeed) {
  const TinyWorld world;
  train::TrainConfig other = world.config("b");
  other.seed = 12;
  EXPECT_NE(run(world.config("a")).weights, run(other).weights);
}

TEST(OptionsTest, BudgetsAreKept) {
  const TinyWorld world;
  train::TrainConfig config = world.config("budget");
  config.placement.offload_param = config.placement.offload_optimizer =
      config.placement.offload_activations = {};
  config.placement.device_memory_bytes = 1 << 20;
  config.placement.host_memory_bytes = 1 << 20;
  EXPECT_EQ(run(config).weights, run(world.config("free")).weights);
}

}  // namespace
}  // namespace aleph::tests
