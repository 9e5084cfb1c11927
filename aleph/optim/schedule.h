// Learning rate as a pure function of the optimizer step: nothing to save, nothing to restore.
//
// Steps are counted from 1; a step skipped because of an overflow does not count. HfSchedule follows
// transformers: step t uses the factor of "t - 1 steps done", so that with warm-up step 1 has rate 0. The
// other schedules follow DeepSpeed (runtime/lr_schedules.py, 0.19), whose scheduler steps after the
// optimizer: step t sees its `last_batch_iteration` i = t - 2, and step 1 the value that its constructor
// sets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "aleph/optim/update_rule.h"

namespace aleph::optim {

/// What the schedules take from the run where their own options do not say.
struct RunShape {
  double learning_rate = 1e-3;  ///< of the optimizer
  int64_t total_steps = 0;
};

/// Warm-up, then constant, linear to 0, or half a cosine to 0. With n = t - 1 steps done, w warm-up steps and
/// T total steps: n / max(1, w) while n < w; then 1, max(0, (T - n) / max(1, T - w)), or
/// (1 + cos(pi (n - w) / max(1, T - w))) / 2.
struct HfSchedule {
  enum class Kind : uint8_t { kConstant, kLinear, kCosine };
  Kind kind = Kind::kConstant;
  double warmup = 0;  ///< steps; below 1: a fraction of the total steps, rounded up
};

enum class WarmupType : uint8_t { kLog, kLinear };

/// min + (max - min) * gamma, with gamma = log(i + 1) / log(w) or i / w while i < w, then 1; w is at least 2.
/// Steps 1 and 2 both have the minimum rate.
struct WarmupLr {
  double warmup_min_lr = 0;
  std::optional<double> warmup_max_lr;  ///< the optimizer's learning rate
  int64_t warmup_num_steps = 1000;
  WarmupType warmup_type = WarmupType::kLog;
};

/// WarmupLr, then gamma = max(0, (T - i) / max(1, T - w)).
struct WarmupDecayLr {
  std::optional<int64_t> total_num_steps;  ///< the steps of the run
  double warmup_min_lr = 0;
  std::optional<double> warmup_max_lr = 1e-3;  ///< nullopt: the optimizer's learning rate
  int64_t warmup_num_steps = 1000;
  WarmupType warmup_type = WarmupType::kLog;
};

/// Ratios of the optimizer's rate: from warmup_min_ratio to 1 as above, then half a cosine down to
/// cos_min_ratio: progress min(1, (i - w + 1) / max(1, T - w)). Step 1 has rate 0.
struct WarmupCosineLr {
  std::optional<int64_t> total_num_steps;  ///< the steps of the run
  double warmup_min_ratio = 0;
  int64_t warmup_num_steps = 1000;
  double cos_min_ratio = 1e-4;
  WarmupType warmup_type = WarmupType::kLog;
};

/// Up from min to max and back in one cycle, then decay: rate min / (1 + rate * n / decay_step_size), n steps
/// after the cycle. Momentum (beta1) moves the other way; beta2 is 0.99 while it does.
struct OneCycle {
  double cycle_min_lr = 0;
  double cycle_max_lr = 0;
  double decay_lr_rate = 0;
  double cycle_first_step_size = 2000;
  std::optional<double> cycle_second_step_size;  ///< the first
  int64_t cycle_first_stair_count = 0;
  std::optional<int64_t> cycle_second_stair_count;  ///< the first
  double decay_step_size = 0;                       ///< 0: no decay
  bool cycle_momentum = true;
  double cycle_min_mom = 0.8;
  double cycle_max_mom = 0.9;
  double decay_mom_rate = 0;
};

/// min * (1 + rate * (t - 1) / size), the fraction rounded down for a staircase.
struct LrRangeTest {
  double lr_range_test_min_lr = 1e-3;
  int64_t lr_range_test_step_size = 2000;
  double lr_range_test_step_rate = 1.0;
  bool lr_range_test_staircase = false;
};

using ScheduleOptions =
    std::variant<HfSchedule, WarmupLr, WarmupDecayLr, WarmupCosineLr, OneCycle, LrRangeTest>;

/// The name users know: "constant", "linear", "cosine", "WarmupLR", ..., "LRRangeTest".
std::string schedule_name(const ScheduleOptions& options);

/// Immutable.
class Schedule {
 public:
  /// Throws Error where an option is out of range, or the total number of steps is needed and unknown.
  Schedule(const ScheduleOptions& options, const RunShape& run);

  /// Rate that optimizer step `step` (from 1) uses.
  double learning_rate(int64_t step) const;
  /// Betas that step `step` uses where the schedule cycles them.
  std::optional<Betas> betas(int64_t step) const;

 private:
  ScheduleOptions options_;
  RunShape run_;
};

}  // namespace aleph::optim
