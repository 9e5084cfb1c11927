#include "aleph/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "aleph/base/error.h"

namespace aleph::optim {
namespace {

constexpr double kTiny = 1e-9;

template <typename... Bodies>
struct Overloaded : Bodies... {
  using Bodies::operator()...;
};
template <typename... Bodies>  // which clang 14 needs
Overloaded(Bodies...)->Overloaded<Bodies...>;

void require(bool good, const char* name, double value, const char* expected) {
  if (!good) throw Error(name, fmt::format("{}", value), expected);
}

void require_total(int64_t total_steps, const char* schedule) {
  if (total_steps <= 0) throw Error(schedule, "no total number of steps", "one: the rate falls until then");
}

// The iteration DeepSpeed's schedulers see at optimizer step t.
int64_t iteration(int64_t step) { return step - 2; }

int64_t warmup_length(int64_t warmup_num_steps) { return std::max<int64_t>(2, warmup_num_steps); }

// Rises from 0 towards 1 while i < w.
double warmup_gamma(int64_t i, int64_t w, WarmupType type) {
  const auto done = static_cast<double>(i);
  const auto length = static_cast<double>(w);
  return type == WarmupType::kLog ? std::log(done + 1) / std::log(length) : done / length;
}

double half_cosine(double progress) { return (1 + std::cos(std::numbers::pi * progress)) / 2; }

double hf_warmup_steps(const HfSchedule& options, int64_t total_steps) {
  if (options.warmup >= 1) return options.warmup;
  return std::ceil(options.warmup * static_cast<double>(total_steps));
}

double hf_factor(const HfSchedule& options, int64_t total_steps, int64_t step) {
  const auto done = static_cast<double>(step - 1);
  const auto total = static_cast<double>(total_steps);
  const double warmup = hf_warmup_steps(options, total_steps);
  if (done < warmup) return done / std::max(1.0, warmup);
  if (options.kind == HfSchedule::Kind::kConstant) return 1;
  const double rest = std::max(1.0, total - warmup);
  if (options.kind == HfSchedule::Kind::kLinear) return std::max(0.0, (total - done) / rest);
  return std::max(0.0, half_cosine((done - warmup) / rest));
}

double warmup_rate(const WarmupLr& options, double base, int64_t step) {
  const int64_t i = iteration(step), w = warmup_length(options.warmup_num_steps);
  const double low = options.warmup_min_lr;
  if (i < 0) return low;
  const double gamma = i < w ? warmup_gamma(i, w, options.warmup_type) : 1;
  return low + (options.warmup_max_lr.value_or(base) - low) * gamma;
}

double warmup_decay_rate(const WarmupDecayLr& options, const RunShape& run, int64_t step) {
  const int64_t total = options.total_num_steps.value_or(run.total_steps);
  const int64_t i = iteration(step), w = warmup_length(options.warmup_num_steps);
  const double low = options.warmup_min_lr;
  if (i < 0) return low;
  const double gamma = i < w ? warmup_gamma(i, w, options.warmup_type)
                             : std::max(0.0, static_cast<double>(total - i) /
                                                 static_cast<double>(std::max<int64_t>(1, total - w)));
  return low + (options.warmup_max_lr.value_or(run.learning_rate) - low) * gamma;
}

double warmup_cosine_ratio(const WarmupCosineLr& options, int64_t total, int64_t step) {
  const int64_t i = iteration(step), w = warmup_length(options.warmup_num_steps);
  if (i < 0) return 0;
  if (i < w)
    return options.warmup_min_ratio +
           (1 - options.warmup_min_ratio) * warmup_gamma(i, w, options.warmup_type);
  const double progress =
      static_cast<double>(i - w + 1) / static_cast<double>(std::max<int64_t>(1, total - w));
  const double low = options.cos_min_ratio;
  return std::max(0.0, low + (1 - low) * half_cosine(std::min(1.0, progress)));
}

double range_test_rate(const LrRangeTest& options, int64_t step) {
  double interval = static_cast<double>(step - 1) / static_cast<double>(options.lr_range_test_step_size);
  if (options.lr_range_test_staircase) interval = std::floor(interval);
  return options.lr_range_test_min_lr * (1 + options.lr_range_test_step_rate * interval);
}

double second_step_size(const OneCycle& options) {
  return options.cycle_second_step_size.value_or(options.cycle_first_step_size);
}

double cycle_length(const OneCycle& options) {
  return options.cycle_first_step_size + second_step_size(options);
}

// Height in the cycle at iteration i, 0 at its ends and 1 at its peak.
double cycle_height(const OneCycle& options, int64_t i) {
  const double first = options.cycle_first_step_size, second = second_step_size(options);
  const double position = std::fmod(static_cast<double>(i + 1), first + second);
  const bool rising = position <= first;
  const int64_t stairs = rising ? options.cycle_first_stair_count
                                : options.cycle_second_stair_count.value_or(options.cycle_first_stair_count);
  const double height = rising ? position / first : (first + second - position) / second;
  if (stairs <= 0) return height;
  const auto count = static_cast<double>(stairs);
  return std::floor(rising ? position * count / first : (first + second - position) * count / second) / count;
}

// Decay intervals after the cycle, 0 inside it.
double decay_intervals(const OneCycle& options, int64_t i) {
  const double after = static_cast<double>(i) - cycle_length(options) + 1;
  return options.decay_step_size < kTiny || after < 1 ? 0 : after / options.decay_step_size;
}

bool in_cycle(const OneCycle& options, int64_t i) { return static_cast<double>(i) < cycle_length(options); }

double one_cycle_rate(const OneCycle& options, int64_t step) {
  const int64_t i = iteration(step);
  const double low = options.cycle_min_lr;
  if (i < 0) return low;
  if (in_cycle(options, i)) return low + (options.cycle_max_lr - low) * cycle_height(options, i);
  return low / (1 + options.decay_lr_rate * decay_intervals(options, i));
}

double one_cycle_momentum(const OneCycle& options, int64_t step) {
  const int64_t i = iteration(step);
  const double low = options.cycle_min_mom, high = options.cycle_max_mom;
  if (i < 0) return low;
  if (in_cycle(options, i)) return high - (high - low) * cycle_height(options, i);
  return high * (1 + options.decay_mom_rate * decay_intervals(options, i));
}

void check(const HfSchedule& options, const RunShape& run) {
  require(options.warmup >= 0 && std::isfinite(options.warmup), "warmup", options.warmup,
          "steps, or a fraction below 1");
  if (options.kind != HfSchedule::Kind::kConstant || (options.warmup > 0 && options.warmup < 1))
    require_total(run.total_steps, schedule_name(options).c_str());
}

void check_warmup_steps(int64_t steps) {
  require(steps > 0, "warmup_num_steps", static_cast<double>(steps), "a positive integer");
}

void check(const WarmupLr& options, const RunShape&) { check_warmup_steps(options.warmup_num_steps); }

void check(const WarmupDecayLr& options, const RunShape& run) {
  check_warmup_steps(options.warmup_num_steps);
  require_total(options.total_num_steps.value_or(run.total_steps), "WarmupDecayLR");
}

void check(const WarmupCosineLr& options, const RunShape& run) {
  check_warmup_steps(options.warmup_num_steps);
  require_total(options.total_num_steps.value_or(run.total_steps), "WarmupCosineLR");
}

void check(const LrRangeTest& options, const RunShape&) {
  require(options.lr_range_test_step_size > 0, "lr_range_test_step_size",
          static_cast<double>(options.lr_range_test_step_size), "a positive integer");
}

void check(const OneCycle& options, const RunShape&) {
  require(options.cycle_first_step_size > 0, "cycle_first_step_size", options.cycle_first_step_size,
          "a positive value");
  require(second_step_size(options) >= 0, "cycle_second_step_size", second_step_size(options),
          "a value of at least 0");
  require(options.decay_step_size >= 0, "decay_step_size", options.decay_step_size, "a value of at least 0");
  const auto below_one = [](double momentum) { return momentum >= 0 && momentum < 1; };
  require(below_one(options.cycle_min_mom), "cycle_min_mom", options.cycle_min_mom, "a value in [0, 1)");
  require(below_one(options.cycle_max_mom), "cycle_max_mom", options.cycle_max_mom, "a value in [0, 1)");
}

}  // namespace

std::string schedule_name(const ScheduleOptions& options) {
  if (const auto* hf = std::get_if<HfSchedule>(&options)) {
    constexpr const char* kNames[] = {"constant", "linear", "cosine"};
    return kNames[static_cast<size_t>(hf->kind)];
  }
  constexpr const char* kNames[] = {"",         "WarmupLR",   "WarmupDecayLR", "WarmupCosineLR",
                                    "OneCycle", "LRRangeTest"};
  return kNames[options.index()];
}

Schedule::Schedule(const ScheduleOptions& options, const RunShape& run) : options_(options), run_(run) {
  std::visit([&](const auto& kind) { check(kind, run); }, options_);
}

double Schedule::learning_rate(int64_t step) const {
  ALEPH_CHECK(step >= 1, "step {}", step);
  const double base = run_.learning_rate;
  const int64_t total = run_.total_steps;
  return std::visit(Overloaded{
                        [&](const HfSchedule& o) { return base * hf_factor(o, total, step); },
                        [&](const WarmupLr& o) { return warmup_rate(o, base, step); },
                        [&](const WarmupDecayLr& o) { return warmup_decay_rate(o, run_, step); },
                        [&](const WarmupCosineLr& o) {
                          return base * warmup_cosine_ratio(o, o.total_num_steps.value_or(total), step);
                        },
                        [&](const OneCycle& o) { return one_cycle_rate(o, step); },
                        [&](const LrRangeTest& o) { return range_test_rate(o, step); },
                    },
                    options_);
}

std::optional<Betas> Schedule::betas(int64_t step) const {
  const auto* cycle = std::get_if<OneCycle>(&options_);
  if (cycle == nullptr || !cycle->cycle_momentum) return std::nullopt;
  const double momentum = one_cycle_momentum(*cycle, step);
  require(momentum < 1, "decay_mom_rate", momentum, "a momentum that stays below 1");
  return Betas{.beta1 = momentum, .beta2 = 0.99};
}

}  // namespace aleph::optim
