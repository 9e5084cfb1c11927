// Loss scale for fp16: gradients are computed from scale * loss so that small ones survive, and divided by
// the same scale before use.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace aleph::optim {

/// DeepSpeed's keys of the block "fp16", with its defaults.
struct LossScaleOptions {
  double loss_scale = 0;                ///< 0: dynamic; else a fixed scale
  int64_t initial_scale_power = 16;     ///< the dynamic scale starts at 2^power
  int64_t loss_scale_window = 1000;     ///< good steps between two doublings
  int64_t hysteresis = 2;               ///< overflows until the scale is halved
  bool consecutive_hysteresis = false;  ///< a good step refills the hysteresis, not only a doubling
  double min_loss_scale = 1;
};

/// Steps that overflow one after another until a run is stuck: no scale helps.
inline constexpr int64_t kMostOverflows = 100;

/// What to do with the gradients of the step that just ran.
struct ScaledStep {
  bool skip = false;           ///< an overflow: no update, and the optimizer step does not count
  double inverse_scale = 1.0;  ///< 1 / the scale these gradients were produced with
  std::string stuck = {};      ///< not empty: why no later step will do better
};

/// On overflow: one unit of hysteresis is used up, and once it is, each overflow halves the scale, not below
/// the minimum. After every `loss_scale_window` steps without overflow the scale doubles and the hysteresis
/// is refilled (DeepSpeed 0.19, runtime/fp16/loss_scaler.py; there the step of a doubling divides its
/// gradients by the new scale, here by the one they carry). All ranks must report the same overflow.
class LossScaler {
 public:
  /// Throws Error where an option is out of range.
  explicit LossScaler(const LossScaleOptions& options);
  /// A scale that is always 1: fp32 and bf16.
  static LossScaler unit();

  /// To multiply the loss of the coming backward with.
  double scale() const { return scale_; }
  bool dynamic() const { return options_.loss_scale == 0; }
  /// Ends a step; `overflow`: some gradient of some rank is not finite. A run is stuck when the scale would
  /// have to go below its minimum (as in DeepSpeed), and after kMostOverflows in a row.
  ScaledStep finish_step(bool overflow);

  /// For checkpoints.
  nlohmann::json state() const;
  /// Throws Error naming `object` where the state is not one of state().
  void load_state(const nlohmann::json& state, const char* object);

 private:
  bool shrink();

  LossScaleOptions options_;
  double scale_ = 1;
  int64_t iteration_ = 0;
  int64_t last_overflow_ = -1;
  int64_t hysteresis_left_ = 1;
  int64_t overflows_in_a_row_ = 0;
};

}  // namespace aleph::optim
