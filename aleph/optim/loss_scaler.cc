#include "aleph/optim/loss_scaler.h"

#include <algorithm>
#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"

namespace aleph::optim {
namespace {

constexpr double kFactor = 2;

void require(bool good, const char* name, double value, const char* expected) {
  if (!good) throw Error(name, fmt::format("{}", value), expected);
}

}  // namespace

LossScaler::LossScaler(const LossScaleOptions& options)
    : options_(options), hysteresis_left_(options.hysteresis) {
  require(options.loss_scale >= 0 && std::isfinite(options.loss_scale), "loss_scale", options.loss_scale,
          "0 (dynamic) or a positive scale");
  scale_ = options.loss_scale;
  if (!dynamic()) return;
  require(options.initial_scale_power >= 0 && options.initial_scale_power <= 127, "initial_scale_power",
          static_cast<double>(options.initial_scale_power), "an integer from 0 to 127");
  require(options.loss_scale_window > 0, "loss_scale_window", static_cast<double>(options.loss_scale_window),
          "a positive integer");
  require(options.hysteresis > 0, "hysteresis", static_cast<double>(options.hysteresis),
          "a positive integer");
  require(options.min_loss_scale > 0 && std::isfinite(options.min_loss_scale), "min_loss_scale",
          options.min_loss_scale, "a positive scale");
  scale_ = std::max(std::exp2(static_cast<double>(options.initial_scale_power)), options.min_loss_scale);
}

LossScaler LossScaler::unit() { return LossScaler(LossScaleOptions{.loss_scale = 1}); }

/// False at the smallest scale.
bool LossScaler::shrink() {
  if (hysteresis_left_ > 1) {
    --hysteresis_left_;
    return true;
  }
  if (scale_ <= options_.min_loss_scale) return false;
  scale_ = std::max(scale_ / kFactor, options_.min_loss_scale);
  return true;
}

ScaledStep LossScaler::finish_step(bool overflow) {
  ScaledStep step{.skip = overflow, .inverse_scale = 1 / scale_};
  overflows_in_a_row_ = overflow ? overflows_in_a_row_ + 1 : 0;
  if (overflows_in_a_row_ >= kMostOverflows) step.stuck = fmt::format("in {} steps in a row", kMostOverflows);
  if (!dynamic()) return step;
  if (overflow) {
    if (!shrink()) step.stuck = fmt::format("at the smallest loss scale, {}", scale_);
    last_overflow_ = iteration_;
  } else {
    const int64_t stable = iteration_ - last_overflow_ - 1;
    const bool grow = stable > 0 && stable % options_.loss_scale_window == 0;
    if (grow || options_.consecutive_hysteresis) hysteresis_left_ = options_.hysteresis;
    // A scale that is not finite as a float could not be multiplied in.
    if (grow && scale_ * kFactor < 1e38) scale_ *= kFactor;
  }
  ++iteration_;
  return step;
}

nlohmann::json LossScaler::state() const {
  return {{"loss_scale", scale_},
          {"iteration", iteration_},
          {"last_overflow_iteration", last_overflow_},
          {"hysteresis_left", hysteresis_left_},
          {"overflows_in_a_row", overflows_in_a_row_}};
}

void LossScaler::load_state(const nlohmann::json& state, const char* object) {
  const auto scale = json_get<double>(state, "loss_scale", object);
  const auto iterations = json_get<int64_t>(state, "iteration", object);
  const auto last_overflow = json_get<int64_t>(state, "last_overflow_iteration", object);
  const auto hysteresis_left = json_get<int64_t>(state, "hysteresis_left", object);
  const auto in_a_row = json_get_or<int64_t>(state, "overflows_in_a_row", 0, object);
  if (in_a_row < 0) throw Error(object, "a loss scale state out of range", "one that a run has saved");
  overflows_in_a_row_ = in_a_row;
  if (!dynamic()) return;  // a fixed scale comes from the configuration, not from the past
  if (!(scale > 0 && std::isfinite(scale)) || iterations < 0 || last_overflow >= iterations ||
      last_overflow < -1 || hysteresis_left < 1)
    throw Error(object, "a loss scale state out of range", "one that a run has saved");
  scale_ = std::max(scale, options_.min_loss_scale);
  iteration_ = iterations;
  last_overflow_ = last_overflow;
  hysteresis_left_ = std::min(hysteresis_left, options_.hysteresis);
}

}  // namespace aleph::optim
