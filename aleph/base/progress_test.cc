#include "aleph/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

namespace aleph {
namespace {

using testing::HasSubstr;
using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

ProgressLine training_line() {
  return {.label = "train",
          .done = 120,
          .total = 500,
          .unit = "steps",
          .rate = 8120.4,
          .rate_unit = "tokens",
          .remaining = 185,
          .extra = "loss 2.31"};
}

TEST(FormatProgressTest, ShowsPositionRateRemainingTimeAndExtra) {
  EXPECT_EQ(format_progress(training_line()),
            "train 120/500 steps 24%  8120 tokens/s  3 min 05 s left  loss 2.31");
}

TEST(FormatProgressTest, PrintsSizesForBytes) {
  EXPECT_EQ(format_progress({.label = "load",
                             .done = 1.5 * (1 << 30),
                             .total = 2.0 * (1 << 30),
                             .unit = "B",
                             .rate = 800.0 * (1 << 20),
                             .rate_unit = "B",
                             .remaining = 1}),
            "load 1.5 GiB/2.0 GiB 75%  800.0 MiB/s  1 s left");
}

TEST(FormatProgressTest, LeavesOutWhatNobodyKnows) {
  EXPECT_EQ(format_progress({.done = 7, .unit = "items"}), "7 items");
  EXPECT_EQ(format_progress({.done = 7, .unit = "items", .rate = 1.25, .rate_unit = "items"}),
            "7 items  1.25 items/s");
  ProgressLine still = training_line();
  still.rate = 0;
  EXPECT_EQ(format_progress(still), "train 120/500 steps 24%  loss 2.31");
}

TEST(FormatProgressTest, NeverClaimsToBeDoneEarly) {
  const auto percent = [](double done) {
    return format_progress({.done = done, .total = 1000, .unit = "steps"});
  };
  EXPECT_THAT(percent(999), HasSubstr(" 99%"));
  EXPECT_THAT(percent(1000), HasSubstr(" 100%"));
  EXPECT_THAT(percent(1001), HasSubstr(" 100%"));
}

TEST(FormatProgressTest, CutsToColumnsBetweenCharacters) {
  EXPECT_EQ(format_progress(training_line(), 9), "train 120");
  EXPECT_EQ(format_progress({.label = "éé한", .done = 1, .unit = "x"}, 3), "éé한");
  EXPECT_EQ(format_progress({.label = "éé한", .done = 1, .unit = "x"}, 100), "éé한 1 x");
}

TEST(SmoothedRateTest, IsExactForASteadyRateFromTheStart) {
  SmoothedRate rate(10);
  EXPECT_EQ(rate.per_second(), 0);
  for (const double seconds : {0.1, 3.0, 0.5, 20.0}) {
    rate.add(250 * seconds, seconds);
    EXPECT_NEAR(rate.per_second(), 250, 1e-9);
  }
  rate.add(5, 0);  // no time has passed: nothing to learn
  EXPECT_NEAR(rate.per_second(), 250, 1e-9);
}

TEST(SmoothedRateTest, ForgetsWithTheWindow) {
  SmoothedRate rate(10);
  for (int i = 0; i < 1000; ++i) rate.add(100, 1);
  for (int i = 0; i < 10; ++i) rate.add(200, 1);
  // After one window 1/e of the old rate is left.
  EXPECT_NEAR(rate.per_second(), 200 - 100 * std::exp(-1.0), 1);
  for (int i = 0; i < 100; ++i) rate.add(200, 1);
  EXPECT_NEAR(rate.per_second(), 200, 0.01);
}

class ProgressTest : public testing::Test {
 protected:
  Progress::Options options(double total) {
    return {.label = "work", .unit = "steps", .total = total, .clock = [this] { return now_; }};
  }
  static std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> out;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) out.push_back(line);
    return out;
  }

  double now_ = 1000;
  Console plain_{Console::Options{}};
};

TEST_F(ProgressTest, ShowsALineEveryFiveSecondsWithoutATerminal) {
  CaptureStderr();
  {
    Progress progress(plain_, options(100));
    for (int step = 1; step <= 100; ++step) {
      now_ += 0.25;
      progress.update(step, "loss " + std::to_string(step));
    }
  }
  const std::vector<std::string> shown = lines(GetCapturedStderr());
  ASSERT_EQ(shown.size(), 5u);
  EXPECT_EQ(shown[0], "work 20/100 steps 20%  4.00 steps/s  20 s left  loss 20");
  EXPECT_EQ(shown[4], "work 100/100 steps 100%  4.00 steps/s  0 s left  loss 100");
}

TEST_F(ProgressTest, RewritesOneLineTenTimesASecondOnATerminal) {
  Console terminal({.terminal = true});
  CaptureStderr();
  {
    Progress progress(terminal, options(0));
    for (int step = 1; step <= 1000; ++step) {
      now_ += 0.03125;
      progress.add(1);
    }
  }
  const std::string text = GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 250);  // every fourth of 32 updates a second
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_THAT(text, HasSubstr("work 1000 steps  32.0 steps/s"));
}

TEST_F(ProgressTest, ScalesTheRateToItsOwnUnit) {
  Progress::Options steps = options(10);
  steps.rate_unit = "tokens";
  steps.rate_units_per_item = 4096;
  CaptureStderr();
  Progress progress(plain_, steps);
  now_ += 8;
  progress.update(4);
  EXPECT_EQ(GetCapturedStderr(), "work 4/10 steps 40%  2048 tokens/s  12 s left\n");
}

TEST_F(ProgressTest, FinishShowsTheLastStateOnce) {
  CaptureStderr();
  Progress progress(plain_, options(2));
  now_ += 1;
  progress.update(2);
  progress.finish();
  progress.finish();
  progress.update(3);
  EXPECT_EQ(GetCapturedStderr(), "work 2/2 steps 100%  2.00 steps/s  0 s left\n");
}

TEST_F(ProgressTest, QuietShowsNothing) {
  Console quiet({.quiet = true});
  CaptureStderr();
  {
    Progress progress(quiet, options(2));
    now_ += 10;
    progress.update(1);
  }
  EXPECT_EQ(GetCapturedStderr(), "");
}

}  // namespace
}  // namespace aleph
