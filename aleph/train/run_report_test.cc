#include "aleph/train/run_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aleph::train {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kBackward = static_cast<size_t>(ComputePhase::kBackward);
constexpr auto kOptimizer = static_cast<size_t>(zero::StateKind::kOptimizer);

RunTotals totals_of_two_steps() {
  RunTotals totals;
  StepRecord record{.step = 1, .tokens = 500, .step_seconds = 2};
  record.io[kOptimizer] = {.read_bytes = 1 << 20, .written_bytes = 2 << 20, .stall_seconds = 0.25};
  record.swap.busy_seconds = 1;
  zero::StepTimes times{};
  times[kBackward] = 1;
  for (int step = 0; step < 2; ++step) totals.add_step(record, times);
  totals.seconds = 5;
  return totals;
}

TEST(RunReportTest, StepsAreSummed) {
  const RunTotals totals = totals_of_two_steps();
  EXPECT_EQ(totals.steps, 2);
  EXPECT_EQ(totals.tokens, 1000);
  EXPECT_EQ(totals.times.steps, 4);
  EXPECT_EQ(totals.times.phases[kBackward], 2);
  EXPECT_EQ(totals.io[kOptimizer].read_bytes, 2 << 20);
  EXPECT_EQ(totals.io[kOptimizer].stall_seconds, 0.5);
  EXPECT_EQ(totals.swap.busy_seconds, 2);
}

TEST(RunReportTest, HiddenShareIsWhatNobodyWaitedFor) {
  RunTotals totals = totals_of_two_steps();
  EXPECT_DOUBLE_EQ(hidden_io_share(totals), 0.75);
  totals.io[kOptimizer].stall_seconds = 100;  // waits for something else count too
  EXPECT_EQ(hidden_io_share(totals), 0);
  EXPECT_EQ(hidden_io_share(RunTotals{}), 1);
}

TEST(RunReportTest, SkippedStepsAreTold) {
  RunTotals totals = totals_of_two_steps();
  EXPECT_THAT(summary_lines(totals), Each(Not(HasSubstr("skipped"))));
  totals.add_step({.step = 3, .skipped = true}, {});
  EXPECT_THAT(summary_lines(totals), Contains(HasSubstr("1 of the steps were skipped")));
  EXPECT_THAT(summary_lines(totals), Each(Not(HasSubstr("nothing was learned"))));
  RunTotals nothing;
  nothing.add_step({.step = 1, .skipped = true}, {});
  EXPECT_THAT(summary_lines(nothing), Contains(HasSubstr("nothing was learned, try a lower --loss-scale")));
}

TEST(RunReportTest, SummaryShowsTiersAndKinds) {
  RunTotals totals = totals_of_two_steps();
  totals.peaks.total = {3 << 20, 0, 5 << 20};
  totals.peaks.by_tag[2][static_cast<size_t>(MemoryTag::kOptimizer)] = 5 << 20;
  const std::vector<std::string> lines = summary_lines(totals);
  EXPECT_THAT(lines.front(), HasSubstr("2 steps, 1000 tokens"));
  EXPECT_THAT(lines.front(), HasSubstr("250 tokens/s"));
  EXPECT_THAT(lines, Contains(HasSubstr("nvme         5.0 MiB   optimizer 5.0 MiB")));
  EXPECT_THAT(lines, Contains(HasSubstr("2.0 MiB read")));
  EXPECT_THAT(lines, Contains(HasSubstr("hidden behind compute: 75 % of 2.0 s")));
}

TEST(RunReportTest, WithoutMovesTheSummaryIsShort) {
  EXPECT_THAT(summary_lines(RunTotals{.steps = 1}), Each(Not(HasSubstr("moved"))));
}

TEST(RunStatsTest, DifferencesAndSumsAreByKind) {
  IoStats before{}, now{};
  before[0] = {.read_bytes = 1, .written_bytes = 2, .stall_seconds = 0.5};
  now[0] = {.read_bytes = 4, .written_bytes = 2, .stall_seconds = 1};
  now[3] = {.read_bytes = 5, .written_bytes = 6, .stall_seconds = 2};
  const IoStats difference = io_since(now, before);
  EXPECT_EQ(difference[0].read_bytes, 3);
  EXPECT_EQ(difference[0].written_bytes, 0);
  EXPECT_EQ(difference[0].stall_seconds, 0.5);
  EXPECT_EQ(io_total(difference).read_bytes, 8);
  EXPECT_EQ(io_total(difference).stall_seconds, 2.5);
}

TEST(RunStatsTest, PeaksComeFromTheLedgers) {
  DeviceContext device(DeviceContext::Options{});
  MemoryLedger nvme(MemoryTier::kNvme, 0);
  nvme.add(100, MemoryTag::kOptimizer);
  nvme.remove(60, MemoryTag::kOptimizer);
  { const Buffer buffer = device.memory().allocate(4096, MemoryTag::kActivations); }
  const MemoryPeaks peaks = read_peaks(device, nvme);
  EXPECT_EQ(peaks.of(MemoryTier::kNvme), 100);
  EXPECT_EQ(peaks.of(MemoryTier::kHost), 0);
  EXPECT_EQ(peaks.by_tag[0][static_cast<size_t>(MemoryTag::kActivations)], 4096);
}

}  // namespace
}  // namespace aleph::train
