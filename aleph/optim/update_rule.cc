#include "aleph/optim/update_rule.h"

#include <algorithm>
#include <array>

#include "aleph/base/error.h"
#include "aleph/base/parallel.h"
#include "aleph/kernels/adamw/adamw.h"

namespace aleph::optim {
namespace {

void check_args(const UpdateArgs& args, size_t states) {
  const int64_t n = args.parameter.elements();
  ALEPH_CHECK(args.states.size() == states, "{} states, {} expected", args.states.size(), states);
  ALEPH_CHECK(args.gradient.elements() == n && args.step >= 1);
  for (const TensorView& state : args.states) ALEPH_CHECK(state.elements() == n);
  ALEPH_CHECK(!args.parameter_16bit || args.parameter_16bit.elements() == n);
}

class Adam final : public UpdateRule {
 public:
  explicit Adam(const AdamOptions& options) : options_(options) {}

  std::span<const char* const> state_names() const override {
    static constexpr std::array<const char*, 2> kNames = {"exp_avg", "exp_avg_sq"};
    return kNames;
  }

  void update(DeviceContext& device, const UpdateArgs& args) const override {
    check_args(args, 2);
    const Betas betas = args.betas.value_or(options_.betas);
    kernels::adam_update(device, {.parameter = args.parameter,
                                  .exp_avg = args.states[0],
                                  .exp_avg_sq = args.states[1],
                                  .gradient = args.gradient,
                                  .parameter_16bit = args.parameter_16bit,
                                  .step = args.step,
                                  .learning_rate = args.learning_rate,
                                  .beta1 = betas.beta1,
                                  .beta2 = betas.beta2,
                                  .epsilon = options_.epsilon,
                                  .weight_decay = args.weight_decay,
                                  .decoupled_decay = options_.decoupled_decay,
                                  .bias_correction = options_.bias_correction,
                                  .gradient_scale = args.gradient_scale});
  }

 private:
  AdamOptions options_;
};

class Sgd final : public UpdateRule {
 public:
  explicit Sgd(const SgdOptions& options) : options_(options) {}

  std::span<const char* const> state_names() const override {
    static constexpr std::array<const char*, 1> kNames = {"momentum_buffer"};
    return {kNames.data(), options_.momentum == 0 ? size_t{0} : size_t{1}};
  }

  void update(DeviceContext& device, const UpdateArgs& args) const override {
    check_args(args, state_names().size());
    if (device.meta()) return;
    parallel_for(args.parameter.elements(), 4096,
                 [&](int64_t begin, int64_t end) { update_range(args, begin, end); });
    if (!args.parameter_16bit) return;
    dispatch_float(args.parameter_16bit.dtype(), [&](auto type) { round_to<decltype(type)>(args); });
  }

 private:
  void update_range(const UpdateArgs& args, int64_t begin, int64_t end) const {
    float* parameter = args.parameter.data<float>();
    const float* gradient = args.gradient.data<float>();
    float* buffer = args.states.empty() ? nullptr : args.states[0].data<float>();
    const auto rate = static_cast<float>(args.learning_rate);
    const auto decay = static_cast<float>(args.weight_decay);
    const auto momentum = static_cast<float>(options_.momentum);
    for (int64_t i = begin; i < end; ++i) {
      const float g = gradient[i] * args.gradient_scale + decay * parameter[i];
      float move = g;
      if (buffer != nullptr) {
        buffer[i] = momentum * buffer[i] + g;
        move = options_.nesterov ? g + momentum * buffer[i] : buffer[i];
      }
      parameter[i] -= rate * move;
    }
  }

  template <typename T>
  static void round_to(const UpdateArgs& args) {
    const float* parameter = args.parameter.data<float>();
    T* rounded = args.parameter_16bit.data<T>();
    parallel_for(args.parameter.elements(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) rounded[i] = from_float<T>(parameter[i]);
    });
  }

  SgdOptions options_;
};

void check_below_one(double value, const char* name) {
  if (!(value >= 0 && value < 1)) throw UsageError(name, fmt::format("{}", value), "a value in [0, 1)");
}

}  // namespace

std::unique_ptr<UpdateRule> make_adam(const AdamOptions& options) {
  check_below_one(options.betas.beta1, "Adam beta1");
  check_below_one(options.betas.beta2, "Adam beta2");
  if (!(options.epsilon > 0))
    throw UsageError("Adam epsilon", fmt::format("{}", options.epsilon), "a positive value");
  return std::make_unique<Adam>(options);
}

std::unique_ptr<UpdateRule> make_sgd(const SgdOptions& options) {
  check_below_one(options.momentum, "SGD momentum");
  if (options.nesterov && options.momentum == 0)
    throw UsageError("SGD nesterov", "momentum 0", "a positive momentum");
  return std::make_unique<Sgd>(options);
}

}  // namespace aleph::optim
