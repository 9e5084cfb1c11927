// Every placement against everything on the device: equal to the last bit, and never a byte over the plan.
#include <gtest/gtest.h>

#include "tests/support/options.h"

namespace aleph::tests {
namespace {

class OptionMatrix : public ::testing::TestWithParam<Numerics> {};

TEST_P(OptionMatrix, PlacementNeverChangesTheNumbers) { expect_equal_runs(GetParam(), all_placements()); }

INSTANTIATE_TEST_SUITE_P(Slow, OptionMatrix, ::testing::ValuesIn(all_numerics()),
                         [](const auto& case_info) { return case_info.param.name(); });

}  // namespace
}  // namespace aleph::tests
