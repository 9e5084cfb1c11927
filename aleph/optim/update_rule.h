// Update rules as pure functions on flat shards: a rule never knows where shards live, how parameters are cut
// into them, or in which order they come.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::optim {

/// Decay rates of the running means of g and g^2.
struct Betas {
  double beta1 = 0.9;
  double beta2 = 0.999;
  bool operator==(const Betas&) const = default;
};

/// One shard of n elements. All views are owned by the caller and live on `device`.
struct UpdateArgs {
  TensorView parameter;                ///< [n]; fp32 master weights, updated in place
  std::span<const TensorView> states;  ///< [n] each; fp32, in the order of state_names(), zero before step 1
  ConstTensorView gradient;            ///< [n]; fp32
  TensorView parameter_16bit;          ///< optional [n]; bf16 or fp16: receives the rounded new parameter
  int64_t step = 1;                    ///< optimizer step t, counted from 1; skipped steps do not count
  double learning_rate = 0;
  double weight_decay = 0;   ///< of this shard: 0 for biases and norms where only matrices decay
  float gradient_scale = 1;  ///< g = gradient * gradient_scale: 1 / loss scale, times the clip factor
  std::optional<Betas> betas = std::nullopt;  ///< in place of the rule's own (OneCycle cycles them)
};

/// Elementwise rules only: the result does not depend on where shards are cut.
class UpdateRule {
 public:
  virtual ~UpdateRule() = default;

  /// Names of the states besides the master weight, as checkpoints call them: "exp_avg", "exp_avg_sq".
  virtual std::span<const char* const> state_names() const = 0;
  /// Runs on the device's compute stream order, like a kernel.
  virtual void update(DeviceContext& device, const UpdateArgs& args) const = 0;
};

/// Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019).
struct AdamOptions {
  Betas betas;
  double epsilon = 1e-8;
  bool decoupled_decay = true;  ///< AdamW: p -= lr * decay * p; false adds decay * p to the gradient
  bool bias_correction = true;
};
/// States: exp_avg, exp_avg_sq. Throws UsageError where betas are outside [0, 1) or epsilon is not positive.
std::unique_ptr<UpdateRule> make_adam(const AdamOptions& options);

/// g += decay * p;  m = momentum * m + g;  p -= lr * (nesterov ? g + momentum * m : m): torch.optim.SGD
/// without dampening (m starts as g there, which zero initial states give as well).
struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
};
/// State: momentum_buffer where momentum is not 0, else none.
std::unique_ptr<UpdateRule> make_sgd(const SgdOptions& options);

}  // namespace aleph::optim
