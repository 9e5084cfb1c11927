#include "aleph/optim/update_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/random.h"

namespace aleph::optim {
namespace {

using ::testing::HasSubstr;
constexpr double kEpsilon32 = 1.2e-7;

std::vector<float> random_values(int64_t n, uint32_t stream) {
  const RandomStream random({.seed = 11, .stream = stream});
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  return values;
}

// A shard with its states, updated over several steps with fresh gradients.
struct Shard {
  std::vector<float> parameter;
  std::vector<std::vector<float>> states;
  std::vector<BF16> rounded;

  Shard(const UpdateRule& rule, std::vector<float> values)
      : parameter(std::move(values)),
        states(rule.state_names().size(), std::vector<float>(parameter.size(), 0.0f)),
        rounded(parameter.size()) {}

  void update(const UpdateRule& rule, int64_t begin, int64_t count, std::vector<float>& gradient,
              UpdateArgs args) {
    const auto part = [&](auto& values) {
      return view_of(std::span(values).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)),
                     Shape{count});
    };
    std::vector<TensorView> views;
    for (std::vector<float>& state : states) views.push_back(part(state));
    args.parameter = part(parameter);
    args.states = views;
    args.gradient = part(gradient);
    args.parameter_16bit = part(rounded);
    DeviceContext device({});
    rule.update(device, args);
  }
};

UpdateArgs step_args(int64_t step) {
  return {.step = step, .learning_rate = 0.01, .weight_decay = 0.1, .gradient_scale = 0.25f};
}

// torch.optim.SGD in double.
void sgd_reference(const SgdOptions& options, std::vector<double>& p, std::vector<double>& m,
                   const std::vector<float>& gradient, const UpdateArgs& args) {
  for (size_t i = 0; i < p.size(); ++i) {
    const double g = static_cast<double>(gradient[i]) * args.gradient_scale + args.weight_decay * p[i];
    m[i] = options.momentum * m[i] + g;
    p[i] -= args.learning_rate * (options.nesterov ? g + options.momentum * m[i] : m[i]);
  }
}

TEST(UpdateRule, SgdMatchesTheFormula) {
  for (const SgdOptions& options :
       {SgdOptions{}, SgdOptions{.momentum = 0.9}, SgdOptions{.momentum = 0.8, .nesterov = true}}) {
    const int64_t n = 10'007;
    const auto rule = make_sgd(options);
    Shard shard(*rule, random_values(n, 1));
    std::vector<double> p(shard.parameter.begin(), shard.parameter.end()), m(p.size(), 0);
    for (int64_t t = 1; t <= 4; ++t) {
      std::vector<float> gradient = random_values(n, 10 + static_cast<uint32_t>(t));
      shard.update(*rule, 0, n, gradient, step_args(t));
      sgd_reference(options, p, m, gradient, step_args(t));
    }
    for (size_t i = 0; i < p.size(); ++i) {
      ASSERT_NEAR(shard.parameter[i], p[i], 20 * kEpsilon32 * (1 + std::abs(p[i]))) << i;
      ASSERT_EQ(shard.rounded[i].bits, from_float<BF16>(shard.parameter[i]).bits);
    }
  }
}

// AdamW or Adam in double, one element.
void adam_reference(const AdamOptions& o, double& p, double& m, double& v, double g, const UpdateArgs& args) {
  const Betas betas = args.betas.value_or(o.betas);
  g *= args.gradient_scale;
  if (!o.decoupled_decay) g += args.weight_decay * p;
  m = betas.beta1 * m + (1 - betas.beta1) * g;
  v = betas.beta2 * v + (1 - betas.beta2) * g * g;
  const auto t = static_cast<double>(args.step);
  const double c1 = o.bias_correction ? 1 - std::pow(betas.beta1, t) : 1;
  const double c2 = o.bias_correction ? 1 - std::pow(betas.beta2, t) : 1;
  if (o.decoupled_decay) p -= args.learning_rate * args.weight_decay * p;
  p -= args.learning_rate / c1 * m / (std::sqrt(v / c2) + o.epsilon);
}

TEST(UpdateRule, AdamPassesEveryOptionToTheKernel) {
  const int64_t n = 257;
  for (const bool decoupled : {true, false})
    for (const bool correction : {true, false}) {
      const AdamOptions options{
          .betas = {0.8, 0.95}, .epsilon = 1e-6, .decoupled_decay = decoupled, .bias_correction = correction};
      const auto rule = make_adam(options);
      Shard shard(*rule, random_values(n, 2));
      std::vector<double> p(shard.parameter.begin(), shard.parameter.end()), m(p.size()), v(p.size());
      for (int64_t t = 1; t <= 5; ++t) {
        std::vector<float> gradient = random_values(n, 20 + static_cast<uint32_t>(t));
        UpdateArgs args = step_args(t);
        if (t == 3) args.betas = Betas{0.7, 0.99};
        shard.update(*rule, 0, n, gradient, args);
        for (size_t i = 0; i < p.size(); ++i) adam_reference(options, p[i], m[i], v[i], gradient[i], args);
      }
      for (size_t i = 0; i < p.size(); ++i)
        ASSERT_NEAR(shard.parameter[i], p[i], 100 * kEpsilon32 * (1 + std::abs(p[i]))) << i;
    }
}

TEST(UpdateRule, ResultDoesNotDependOnTheCut) {
  const int64_t n = 9'001, cut = 4'099;
  for (const auto& rule : {make_adam({}), make_sgd({.momentum = 0.9})}) {
    Shard whole(*rule, random_values(n, 3)), parts(*rule, random_values(n, 3));
    for (int64_t t = 1; t <= 3; ++t) {
      std::vector<float> gradient = random_values(n, 30 + static_cast<uint32_t>(t));
      whole.update(*rule, 0, n, gradient, step_args(t));
      parts.update(*rule, cut, n - cut, gradient, step_args(t));
      parts.update(*rule, 0, cut, gradient, step_args(t));
    }
    EXPECT_EQ(whole.parameter, parts.parameter);
    EXPECT_EQ(whole.states, parts.states);
  }
}

TEST(UpdateRule, NamesItsStates) {
  EXPECT_EQ(make_adam({})->state_names().size(), 2u);
  EXPECT_STREQ(make_adam({})->state_names()[1], "exp_avg_sq");
  EXPECT_TRUE(make_sgd({})->state_names().empty());
  EXPECT_STREQ(make_sgd({.momentum = 0.5})->state_names()[0], "momentum_buffer");
}

TEST(UpdateRule, RefusesOptionsOutOfRange) {
  const auto failure = [](const auto& make) -> std::string {
    try {
      make();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(failure([] { make_adam({.betas = {1.0, 0.9}}); }), HasSubstr("Adam beta1: found 1"));
  EXPECT_THAT(failure([] { make_adam({.betas = {0.9, -0.1}}); }), HasSubstr("Adam beta2: found -0.1"));
  EXPECT_THAT(failure([] { make_adam({.epsilon = 0}); }), HasSubstr("Adam epsilon: found 0"));
  EXPECT_THAT(failure([] { make_sgd({.momentum = std::nan("")}); }), HasSubstr("SGD momentum: found nan"));
  EXPECT_THAT(failure([] { make_sgd({.nesterov = true}); }), HasSubstr("SGD nesterov"));
}

TEST(UpdateRule, ChecksThatStatesFit) {
  const auto rule = make_adam({});
  std::vector<float> p(4), g(4);
  DeviceContext device({});
  EXPECT_THROW(rule->update(device, {.parameter = view_of(std::span(p), Shape{4}),
                                     .gradient = view_of(std::span(g), Shape{4})}),
               InternalError);
}

}  // namespace
}  // namespace aleph::optim
