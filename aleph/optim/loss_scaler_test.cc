#include "aleph/optim/loss_scaler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/io/json_file.h"

namespace aleph::optim {
namespace {

using ::testing::HasSubstr;

TEST(LossScaler, FollowsDeepSpeedOverRandomOverflows) {
  const Json values = io::parse_json_file(ALEPH_TEST_DATA "/optim/deepspeed_values.json");
  ASSERT_EQ(values.at("loss_scales").size(), 3u);
  for (const Json& entry : values.at("loss_scales")) {
    LossScaler scaler({.initial_scale_power = entry.at("power").get<int64_t>(),
                       .loss_scale_window = entry.at("window").get<int64_t>(),
                       .hysteresis = entry.at("hysteresis").get<int64_t>(),
                       .consecutive_hysteresis = entry.at("consecutive").get<bool>(),
                       .min_loss_scale = entry.at("minimum").get<double>()});
    const auto overflows = entry.at("overflow").get<std::vector<int>>();
    const auto scales = entry.at("scale").get<std::vector<double>>();
    for (size_t k = 0; k < overflows.size(); ++k) {
      const double used = scaler.scale();
      const ScaledStep step = scaler.finish_step(overflows[k] != 0);
      EXPECT_EQ(scaler.scale(), scales[k]) << k;
      EXPECT_EQ(step.skip, overflows[k] != 0);
      EXPECT_EQ(step.inverse_scale, 1 / used) << "gradients carry the scale they were produced with";
    }
  }
}

TEST(LossScaler, StepOfADoublingDividesByTheScaleThatWasUsed) {
  LossScaler scaler({.initial_scale_power = 10, .loss_scale_window = 1});
  EXPECT_EQ(scaler.finish_step(false).inverse_scale, 1.0 / 1024);
  EXPECT_EQ(scaler.scale(), 1024) << "the first step has no stable interval behind it";
  EXPECT_EQ(scaler.finish_step(false).inverse_scale, 1.0 / 1024);
  EXPECT_EQ(scaler.scale(), 2048);
}

TEST(LossScaler, ResumesWhereItStopped) {
  const LossScaleOptions options{.initial_scale_power = 12, .loss_scale_window = 3};
  LossScaler straight(options), first(options);
  const auto overflow = [](int k) { return k % 5 == 1 || k == 7; };
  for (int k = 0; k < 11; ++k) {
    straight.finish_step(overflow(k));
    first.finish_step(overflow(k));
  }
  LossScaler resumed(options);
  resumed.load_state(parse_json(first.state().dump(), "state"), "state");
  for (int k = 11; k < 40; ++k) {
    EXPECT_EQ(resumed.scale(), straight.scale()) << k;
    straight.finish_step(overflow(k));
    resumed.finish_step(overflow(k));
  }
}

TEST(LossScaler, IsStuckAtTheFloor) {
  LossScaler scaler({.initial_scale_power = 1, .hysteresis = 1, .min_loss_scale = 1});
  EXPECT_EQ(scaler.finish_step(true).stuck, "");
  EXPECT_EQ(scaler.scale(), 1);
  const ScaledStep step = scaler.finish_step(true);
  EXPECT_TRUE(step.skip);
  EXPECT_EQ(step.stuck, "at the smallest loss scale, 1");
}

TEST(LossScaler, IsStuckAfterAHundredOverflowsInARow) {
  for (const LossScaleOptions& options :
       {LossScaleOptions{.loss_scale = 64}, LossScaleOptions{.hysteresis = 1000}}) {
    LossScaler scaler(options);
    for (int k = 0; k < 99; ++k) EXPECT_EQ(scaler.finish_step(true).stuck, "") << k;
    scaler.finish_step(false);
    for (int k = 0; k < 50; ++k) EXPECT_EQ(scaler.finish_step(true).stuck, "") << k;
    LossScaler resumed(options);
    resumed.load_state(scaler.state(), "state");
    for (int k = 50; k < 99; ++k) EXPECT_EQ(resumed.finish_step(true).stuck, "") << k;
    EXPECT_EQ(resumed.finish_step(true).stuck, "in 100 steps in a row");
  }
}

TEST(LossScaler, StaticScaleNeverMovesButSkipsOverflows) {
  LossScaler scaler({.loss_scale = 128});
  EXPECT_FALSE(scaler.dynamic());
  for (int k = 0; k < 5; ++k) {
    const ScaledStep step = scaler.finish_step(k % 2 == 0);
    EXPECT_EQ(step.skip, k % 2 == 0);
    EXPECT_EQ(step.inverse_scale, 1.0 / 128);
    EXPECT_EQ(scaler.scale(), 128);
  }
  EXPECT_EQ(LossScaler::unit().finish_step(false).inverse_scale, 1);
}

TEST(LossScaler, StaysFiniteAsAFloat) {
  LossScaler scaler({.initial_scale_power = 126, .loss_scale_window = 1});
  for (int k = 0; k < 9; ++k) scaler.finish_step(false);
  EXPECT_TRUE(std::isfinite(static_cast<float>(scaler.scale())));
}

std::string failure(const LossScaleOptions& options) {
  try {
    LossScaler{options};
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(LossScaler, RefusesOptionsOutOfRange) {
  EXPECT_THAT(failure({.loss_scale = -1}), HasSubstr("loss_scale: found -1"));
  EXPECT_THAT(failure({.loss_scale = INFINITY}), HasSubstr("loss_scale: found inf"));
  EXPECT_THAT(failure({.initial_scale_power = 200}), HasSubstr("initial_scale_power: found 200"));
  EXPECT_THAT(failure({.loss_scale_window = 0}), HasSubstr("loss_scale_window: found 0"));
  EXPECT_THAT(failure({.hysteresis = 0}), HasSubstr("hysteresis: found 0"));
  EXPECT_THAT(failure({.min_loss_scale = 0}), HasSubstr("min_loss_scale: found 0"));
}

TEST(LossScaler, RefusesAStateThatNoRunSaved) {
  LossScaler scaler(LossScaleOptions{});
  EXPECT_THROW(scaler.load_state(Json::object(), "s"), Error);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"loss_scale", -4},
                                                                            {"loss_scale", "big"},
                                                                            {"iteration", -1},
                                                                            {"last_overflow_iteration", 9},
                                                                            {"hysteresis_left", 0},
                                                                            {"overflows_in_a_row", -1}}) {
    Json state = LossScaler(LossScaleOptions{}).state();
    state[key] = value;
    EXPECT_THROW(scaler.load_state(state, "s"), Error) << state;
  }
}

}  // namespace
}  // namespace aleph::optim
