#include "aleph/optim/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/io/json_file.h"

namespace aleph::optim {
namespace {

using ::testing::HasSubstr;

// What the originals computed, see tests/data/optim/README.md.
const Json& original_values() {
  static const Json values = io::parse_json_file(ALEPH_TEST_DATA "/optim/deepspeed_values.json");
  return values;
}

class Params {
 public:
  explicit Params(const Json& json) : json_(json) {}
  template <typename T>
  T get(const char* key, T fallback) const {
    return json_.contains(key) ? json_.at(key).get<T>() : fallback;
  }
  template <typename T>
  std::optional<T> optional(const char* key) const {
    return json_.contains(key) ? std::optional<T>(json_.at(key).get<T>()) : std::nullopt;
  }
  WarmupType warmup_type() const {
    return get<std::string>("warmup_type", "log") == "log" ? WarmupType::kLog : WarmupType::kLinear;
  }

 private:
  const Json& json_;
};

OneCycle one_cycle_from(const Params& p) {
  return {.cycle_min_lr = p.get("cycle_min_lr", 0.0),
          .cycle_max_lr = p.get("cycle_max_lr", 0.0),
          .decay_lr_rate = p.get("decay_lr_rate", 0.0),
          .cycle_first_step_size = p.get("cycle_first_step_size", 2000.0),
          .cycle_second_step_size = p.optional<double>("cycle_second_step_size"),
          .cycle_first_stair_count = p.get<int64_t>("cycle_first_stair_count", 0),
          .cycle_second_stair_count = p.optional<int64_t>("cycle_second_stair_count"),
          .decay_step_size = p.get("decay_step_size", 0.0),
          .cycle_momentum = p.get("cycle_momentum", true),
          .decay_mom_rate = p.get("decay_mom_rate", 0.0)};
}

ScheduleOptions options_from(const std::string& name, const Params& p) {
  const auto steps = p.get<int64_t>("warmup_num_steps", 1000);
  if (name == "WarmupLR")
    return WarmupLr{.warmup_min_lr = p.get("warmup_min_lr", 0.0),
                    .warmup_max_lr = p.optional<double>("warmup_max_lr"),
                    .warmup_num_steps = steps,
                    .warmup_type = p.warmup_type()};
  if (name == "WarmupDecayLR")
    return WarmupDecayLr{.total_num_steps = p.optional<int64_t>("total_num_steps"),
                         .warmup_min_lr = p.get("warmup_min_lr", 0.0),
                         .warmup_max_lr = p.get("warmup_max_lr", 1e-3),
                         .warmup_num_steps = steps,
                         .warmup_type = p.warmup_type()};
  if (name == "WarmupCosineLR")
    return WarmupCosineLr{.total_num_steps = p.optional<int64_t>("total_num_steps"),
                          .warmup_min_ratio = p.get("warmup_min_ratio", 0.0),
                          .warmup_num_steps = steps,
                          .cos_min_ratio = p.get("cos_min_ratio", 1e-4),
                          .warmup_type = p.warmup_type()};
  if (name == "OneCycle") return one_cycle_from(p);
  return LrRangeTest{.lr_range_test_min_lr = p.get("lr_range_test_min_lr", 1e-3),
                     .lr_range_test_step_size = p.get<int64_t>("lr_range_test_step_size", 2000),
                     .lr_range_test_step_rate = p.get("lr_range_test_step_rate", 1.0),
                     .lr_range_test_staircase = p.get("lr_range_test_staircase", false)};
}

void expect_rates(const Schedule& schedule, const std::vector<double>& rates, const std::string& name) {
  for (size_t t = 1; t <= rates.size(); ++t)
    EXPECT_NEAR(schedule.learning_rate(static_cast<int64_t>(t)), rates[t - 1], 1e-15 + 1e-12 * rates[t - 1])
        << name << " step " << t;
}

TEST(Schedule, GivesTheRatesAndBetasOfDeepSpeed) {
  ASSERT_EQ(original_values().at("schedules").size(), 13u);
  for (const Json& entry : original_values().at("schedules")) {
    const auto name = entry.at("name").get<std::string>();
    const ScheduleOptions options = options_from(name, Params(entry.at("params")));
    EXPECT_EQ(schedule_name(options), name);
    const Schedule schedule(options, {.learning_rate = entry.at("learning_rate").get<double>()});
    expect_rates(schedule, entry.at("rates").get<std::vector<double>>(), name);
    const auto betas = entry.at("betas").get<std::vector<std::vector<double>>>();
    for (size_t t = 1; t <= betas.size(); ++t) {
      const Betas got = schedule.betas(static_cast<int64_t>(t)).value_or(Betas{});
      EXPECT_NEAR(got.beta1, betas[t - 1][0], 1e-12) << name << " step " << t;
      EXPECT_EQ(got.beta2, betas[t - 1][1]) << name << " step " << t;
    }
  }
}

TEST(Schedule, GivesTheRatesOfTransformers) {
  ASSERT_EQ(original_values().at("hf_schedules").size(), 5u);
  for (const Json& entry : original_values().at("hf_schedules")) {
    const auto name = entry.at("name").get<std::string>();
    const HfSchedule options{.kind = name == "constant" ? HfSchedule::Kind::kConstant
                                     : name == "linear" ? HfSchedule::Kind::kLinear
                                                        : HfSchedule::Kind::kCosine,
                             .warmup = entry.at("warmup").get<double>()};
    EXPECT_EQ(schedule_name(options), name);
    const Schedule schedule(options, {.learning_rate = entry.at("learning_rate").get<double>(),
                                      .total_steps = entry.at("total").get<int64_t>()});
    expect_rates(schedule, entry.at("rates").get<std::vector<double>>(), name);
  }
}

TEST(Schedule, FirstStepHasTheFullRateWithoutWarmup) {
  for (const auto kind : {HfSchedule::Kind::kConstant, HfSchedule::Kind::kLinear, HfSchedule::Kind::kCosine})
    EXPECT_DOUBLE_EQ(
        Schedule(HfSchedule{.kind = kind}, {.learning_rate = 3e-4, .total_steps = 9}).learning_rate(1), 3e-4);
}

TEST(Schedule, WarmupBelowOneIsAFractionRoundedUp) {
  const RunShape run{.learning_rate = 1, .total_steps = 25};
  const Schedule fraction(HfSchedule{.kind = HfSchedule::Kind::kLinear, .warmup = 0.1}, run);
  const Schedule steps(HfSchedule{.kind = HfSchedule::Kind::kLinear, .warmup = 3}, run);
  for (int64_t t = 1; t <= 25; ++t) EXPECT_EQ(fraction.learning_rate(t), steps.learning_rate(t)) << t;
}

TEST(Schedule, TotalStepsComeFromTheRunWhereOptionsDoNotSay) {
  const RunShape run{.learning_rate = 1e-3, .total_steps = 40};
  const Schedule from_run(WarmupDecayLr{.warmup_num_steps = 5}, run);
  const Schedule given(WarmupDecayLr{.total_num_steps = 40, .warmup_num_steps = 5}, {});
  for (int64_t t = 1; t <= 45; ++t) EXPECT_EQ(from_run.learning_rate(t), given.learning_rate(t)) << t;
  EXPECT_EQ(from_run.learning_rate(42), 0);
}

template <typename Options>
std::string failure(const Options& options) {
  try {
    Schedule(options, RunShape{});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Schedule, RefusesWhatMakesNoSense) {
  EXPECT_THAT(failure(HfSchedule{.warmup = -1}), HasSubstr("warmup: found -1"));
  EXPECT_THAT(failure(HfSchedule{.warmup = std::nan("")}), HasSubstr("warmup: found nan"));
  EXPECT_THAT(failure(HfSchedule{.kind = HfSchedule::Kind::kCosine}),
              HasSubstr("cosine: found no total number of steps"));
  EXPECT_THAT(failure(HfSchedule{.warmup = 0.1}), HasSubstr("no total number of steps"));
  EXPECT_THAT(failure(WarmupLr{.warmup_num_steps = 0}), HasSubstr("warmup_num_steps: found 0"));
  EXPECT_THAT(failure(WarmupDecayLr{}), HasSubstr("WarmupDecayLR: found no total number of steps"));
  EXPECT_THAT(failure(WarmupCosineLr{}), HasSubstr("WarmupCosineLR: found no total number of steps"));
  EXPECT_THAT(failure(LrRangeTest{.lr_range_test_step_size = 0}), HasSubstr("lr_range_test_step_size"));
  EXPECT_THAT(failure(OneCycle{.cycle_first_step_size = 0}), HasSubstr("cycle_first_step_size: found 0"));
  EXPECT_THAT(failure(OneCycle{.cycle_second_step_size = -1}), HasSubstr("cycle_second_step_size: found -1"));
  EXPECT_THAT(failure(OneCycle{.decay_step_size = -2}), HasSubstr("decay_step_size: found -2"));
  EXPECT_THAT(failure(OneCycle{.cycle_max_mom = 1}), HasSubstr("cycle_max_mom: found 1"));
}

TEST(Schedule, MomentumThatGrowsToOneIsAnError) {
  const Schedule schedule(OneCycle{.cycle_first_step_size = 2, .decay_step_size = 1, .decay_mom_rate = 0.05},
                          {});
  EXPECT_LT(schedule.betas(6)->beta1, 1);
  EXPECT_THROW(schedule.betas(10), Error);
}

}  // namespace
}  // namespace aleph::optim
