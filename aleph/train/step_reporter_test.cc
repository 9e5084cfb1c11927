#include "aleph/train/step_reporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aleph::train {
namespace {

using ::testing::HasSubstr;

StepRecord record_of(int64_t step) {
  StepRecord record{.step = step, .loss = 3.25, .learning_rate = 1e-4, .grad_norm = 1.5, .tokens = 100};
  record.step_seconds = 0.5;
  record.peaks.total[2] = 3 << 20;
  return record;
}

std::string shown(const StepReporter::Options& options, int64_t steps, bool quiet = false) {
  Console console({.quiet = quiet});
  StepReporter reporter(console, options);
  ::testing::internal::CaptureStderr();
  for (int64_t step = 1; step <= steps; ++step) reporter.step(record_of(step));
  return ::testing::internal::GetCapturedStderr();
}

TEST(StepReporterTest, AStepInWords) {
  EXPECT_EQ(describe_step(record_of(1)), "loss 3.2500  lr 1.00e-04  norm 1.5  memory nvme 3.0 MiB");
  StepRecord skipped = record_of(1);
  skipped.skipped = true;
  EXPECT_THAT(describe_step(skipped), HasSubstr("overflow, skipped"));
}

TEST(StepReporterTest, TheFirstEveryNthAndTheLastAreShown) {
  const std::string text = shown({.total_steps = 25, .every = 10}, 25);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
  for (const char* step : {"train 1/25", "train 10/25", "train 20/25", "train 25/25"})
    EXPECT_THAT(text, HasSubstr(step));
  EXPECT_THAT(text, HasSubstr("200 tokens/s"));
}

TEST(StepReporterTest, QuietShowsNothing) { EXPECT_EQ(shown({.total_steps = 3, .every = 1}, 3, true), ""); }

TEST(StepReporterTest, EvaluationsAreShown) {
  Console console({});
  StepReporter reporter(console, {});
  ::testing::internal::CaptureStderr();
  reporter.evaluation({.step = 4, .loss = 2, .nats_per_byte = 0.5, .tokens = 10, .seconds = 1.25});
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "eval  step 4  loss 2.0000  0.5000 nats per byte  (10 tokens in 1.2 s)\n");
}

}  // namespace
}  // namespace aleph::train
