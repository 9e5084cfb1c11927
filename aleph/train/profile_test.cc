#include "aleph/train/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aleph::train {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr Ceilings kCeilings{
    .dtype = DType::kBF16, .size = {.m = 8, .n = 32, .k = 16}, .operations = 4e11, .bytes = 4e10};

size_t index(ComputePhase phase) { return static_cast<size_t>(phase); }

RunTotals two_steps() {
  RunTotals totals{.steps = 2};
  totals.times.steps = 4;
  totals.times.data = 0.5;
  totals.times.phases[index(ComputePhase::kForward)] = 1;
  totals.times.phases[index(ComputePhase::kBackward)] = 2;
  totals.io[static_cast<size_t>(zero::StateKind::kOptimizer)].stall_seconds = 0.5;
  return totals;
}

TEST(ProfileTest, PhasesAddUpToTheStep) {
  const std::vector<std::string> lines = profile_lines(two_steps(), KernelProfile(), kCeilings);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("backward"), HasSubstr("1.0000 s"), HasSubstr("50.0 %"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("other"), HasSubstr("0.2500 s"), HasSubstr("12.5 %"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("step"), HasSubstr("2.0000 s"), HasSubstr("100.0 %"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("optimizer"), HasSubstr("0.2500 s"))));
  EXPECT_THAT(lines, Each(Not(HasSubstr("recompute")))) << "nothing was";
}

TEST(ProfileTest, KernelsShowTheirRateAndShareOfTheCeiling) {
  KernelProfile kernels;
  kernels.enter(ComputePhase::kForward);
  kernels.add(KernelKind::kNorm, {.calls = 1, .seconds = 0.1, .bytes = 1e9});
  kernels.add(KernelKind::kMatmul, {.calls = 1, .seconds = 0.5, .operations = 1e11, .bytes = 1});
  const std::vector<std::string> lines = profile_lines(two_steps(), kernels, kCeilings);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("matmul"), HasSubstr("0.2500 s"), HasSubstr("200.0 GFLOP/s"),
                                    HasSubstr("50 %"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("norm"), HasSubstr("10.0 GB/s"), HasSubstr("25 %"))));
  EXPECT_THAT(lines[2], HasSubstr("matmul")) << "the costliest first";
  EXPECT_THAT(lines.back(),
              AllOf(HasSubstr("400 GFLOP/s in bf16 (8 x 16 times 16 x 32)"), HasSubstr("40.0 GB/s")));
}

TEST(ProfileTest, CeilingsAreMeasuredAtTheModelsOwnShape) {
  DeviceContext device({});
  models::TransformerSpec spec;
  spec.blocks.push_back({.hidden_size = 24, .intermediate_size = 40});
  const Ceilings ceilings = measure_ceilings(device, spec, DType::kF32, 10);
  EXPECT_EQ(ceilings.size.m, 10);
  EXPECT_EQ(ceilings.size.n, 40);
  EXPECT_EQ(ceilings.size.k, 24);
  EXPECT_GT(ceilings.operations, 0);
  EXPECT_GT(ceilings.bytes, 0);
}

}  // namespace
}  // namespace aleph::train
