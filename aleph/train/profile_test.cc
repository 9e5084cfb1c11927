#include "aleph/train/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aleph/io/temporary_directory.h"

namespace aleph::train {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr Ceilings kCeilings{
    .dtype = DType::kBF16, .operations = 4e11, .bytes = 4e10, .disk_read = 2e9, .disk_written = 1e9};

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
  EXPECT_THAT(lines.back(), AllOf(HasSubstr("400 GFLOP/s (products of this model in bf16)"),
                                  HasSubstr("40.0 GB/s"), HasSubstr("2.0 GB/s read, 1.0 written")));
}

TEST(ProfileTest, KindsAreSummedOverPhases) {
  KernelProfile kernels;
  for (const ComputePhase phase : {ComputePhase::kForward, ComputePhase::kBackward}) {
    kernels.enter(phase);
    kernels.add(KernelKind::kNorm, {.calls = 1, .seconds = 0.1, .bytes = 1e9});
  }
  const std::vector<std::string> lines = profile_lines(two_steps(), kernels, kCeilings);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("norm"), HasSubstr("0.1000 s"), HasSubstr("10.0 GB/s"))));
}

/// 3 GB read and 1 GB written in 5 s, where the disk would take 2.5.
TEST(ProfileTest, TransfersShowTheirRateAndShareOfTheCeiling) {
  RunTotals totals = two_steps();
  EXPECT_THAT(profile_lines(totals, KernelProfile(), kCeilings), Each(Not(HasSubstr("transfers"))));
  totals.swap = {.busy_seconds = 5, .read_bytes = 3'000'000'000, .written_bytes = 1'000'000'000};
  EXPECT_THAT(profile_lines(totals, KernelProfile(), kCeilings),
              Contains(AllOf(HasSubstr("NVMe transfers"), HasSubstr("0.8 GB/s"), HasSubstr("50 %"))));
}

models::TransformerSpec small_spec() {
  models::TransformerSpec spec;
  spec.blocks.assign(3, {.hidden_size = 24,
                         .intermediate_size = 40,
                         .heads = 3,
                         .kv_heads = 1,
                         .head_dim = 8,
                         .gated_mlp = true});
  spec.head.vocab_size = 6000;
  return spec;
}

TEST(ProfileTest, ProductsAreThoseOfTheModel) {
  const std::vector<kernels::ProductSize> sizes = product_sizes(small_spec(), 10);
  double operations = 0;
  for (const kernels::ProductSize& size : sizes) {
    EXPECT_EQ(size.m, 10);
    operations += size.count * 2 * 10 * static_cast<double>(size.n * size.k);
  }
  EXPECT_EQ(operations, 2 * 10 * 24.0 * (3 * ((3 + 2) * 8 + 24 + 2 * 40 + 40) + 6000));
}

TEST(ProfileTest, CeilingsFitTheBudget) {
  for (const int64_t budget : {int64_t{0}, int64_t{2} << 20}) {
    DeviceContext device({.device_budget_bytes = budget});
    MemoryLedger nvme(MemoryTier::kNvme, 0);
    comm::SelfCommunicator self;
    io::TemporaryDirectory directory;
    zero::SwapSpace swap({.directories = {directory.path()}});
    const Ceilings ceilings =
        measure_ceilings({device, nvme, self, budget == 0 ? nullptr : &swap}, small_spec(), DType::kF32, 10);
    EXPECT_GT(ceilings.operations, 0);
    EXPECT_GT(ceilings.bytes, 0);
    EXPECT_EQ(ceilings.disk_read > 0, budget != 0);
    EXPECT_EQ(ceilings.disk_written > 0, budget != 0);
    EXPECT_EQ(device.memory().ledger().live(), 0);
  }
}

}  // namespace
}  // namespace aleph::train
