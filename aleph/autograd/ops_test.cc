// Every operation's backward against central differences of its own forward, in fp32 with a random projection
// as loss.
#include "aleph/autograd/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "aleph/base/random.h"

namespace aleph::autograd {
namespace {

constexpr float kStep = 1e-2f;

std::vector<float> random_values(int64_t n, uint32_t stream, float scale = 1) {
  const RandomStream random({.seed = 7, .stream = stream});
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * random.normal(i);
  return values;
}

/// A parameter with memory of its own, bound for good.
struct BoundParameter {
  BoundParameter(const Shape& shape, uint32_t stream)
      : value(random_values(shape.elements(), stream, 0.5f)), gradient(value.size(), 0.0f) {
    parameter.shape = shape;
    parameter.value = view_of<float>(std::span(value), shape);
    parameter.gradient = view_of<float>(std::span(gradient), shape);
  }
  std::vector<float> value, gradient;
  Parameter parameter;
};

class OpsTest : public testing::Test {
 protected:
  using Forward = std::function<Variable(const OpContext&, const Variable&)>;

  Variable variable(const std::vector<float>& values, const Shape& shape) {
    Tensor tensor(device_.memory(), shape, DType::kF32, MemoryTag::kActivations);
    std::copy(values.begin(), values.end(), tensor.view().data<float>());
    return Variable(std::move(tensor));
  }

  /// sum(weights * forward(x)) in double.
  double loss(const Forward& forward, const std::vector<float>& x, const Shape& shape) {
    const Variable y = forward({.device = device_}, variable(x, shape));
    const std::vector<float> weights = random_values(y.value().elements(), 99);
    double sum = 0;
    const auto values = y.value().span<float>();
    for (size_t i = 0; i < values.size(); ++i) sum += static_cast<double>(weights[i]) * values[i];
    return sum;
  }

  double slope(const Forward& forward, std::vector<float>& x, const Shape& shape, float& element) {
    const float kept = element;
    element = kept + kStep;
    const double above = loss(forward, x, shape);
    element = kept - kStep;
    const double below = loss(forward, x, shape);
    element = kept;
    return (above - below) / (2.0 * static_cast<double>(kStep));
  }

  void expect_close(double analytic, double numeric, const std::string& what) {
    EXPECT_NEAR(analytic, numeric, 2e-2 * std::max(1.0, std::abs(numeric))) << what;
  }

  /// Checks dx and the gradients of `parameters` (which start at 1, so that adding shows).
  void check(const Forward& forward, const Shape& shape, std::vector<BoundParameter*> parameters) {
    std::vector<float> x = random_values(shape.elements(), 3);
    for (BoundParameter* p : parameters) std::fill(p->gradient.begin(), p->gradient.end(), 1.0f);
    Tape tape;
    const Variable input = variable(x, shape);
    {
      const Variable y = forward({.device = device_, .tape = &tape}, input);
      Tensor dy(device_.memory(), y.shape(), DType::kF32, MemoryTag::kActivations);
      const std::vector<float> weights = random_values(y.value().elements(), 99);
      std::copy(weights.begin(), weights.end(), dy.view().data<float>());
      y.gradient().add(device_, std::move(dy));
    }
    tape.backward();
    const Tensor dx = input.gradient().take();
    for (size_t i = 0; i < x.size(); ++i) {
      expect_close(dx.view().data<float>()[i], slope(forward, x, shape, x[i]), fmt::format("dx[{}]", i));
    }
    for (size_t p = 0; p < parameters.size(); ++p) {
      BoundParameter& bound = *parameters[p];
      for (size_t i = 0; i < bound.value.size(); ++i) {
        expect_close(bound.gradient[i] - 1.0f, slope(forward, x, shape, bound.value[i]),
                     fmt::format("parameter {}[{}]", p, i));
      }
    }
  }

  DeviceContext device_{DeviceContext::Options{}};
};

TEST_F(OpsTest, Linear) {
  BoundParameter weight({5, 3}, 1), bias({5}, 2);
  check(
      [&](const OpContext& c, const Variable& x) { return linear(c, x, weight.parameter, &bias.parameter); },
      {2, 2, 3}, {&weight, &bias});
}

TEST_F(OpsTest, Norms) {
  BoundParameter weight({6}, 1), bias({6}, 2);
  check([&](const OpContext& c,
            const Variable& x) { return layer_norm(c, x, weight.parameter, &bias.parameter, 1e-5f); },
        {3, 6}, {&weight, &bias});
  check([&](const OpContext& c, const Variable& x) { return rms_norm(c, x, weight.parameter, 1e-5f); },
        {3, 6}, {&weight});
}

TEST_F(OpsTest, ActivationsAndResidual) {
  for (const auto kind : {kernels::Activation::kGelu, kernels::Activation::kGeluTanh,
                          kernels::Activation::kSilu, kernels::Activation::kTanh}) {
    check([&](const OpContext& c, const Variable& x) { return add(c, x, activation(c, x, kind)); }, {2, 5},
          {});
    check([&](const OpContext& c, const Variable& x) { return gated_activation(c, x, kind); }, {2, 6}, {});
  }
}

TEST_F(OpsTest, AttentionWithRotaryAndGroups) {
  const kernels::AttentionSpec spec{.heads = 2, .kv_heads = 1, .head_dim = 4, .scale = 0.5f, .window = 3};
  std::vector<float> cosines, sines;
  for (int i = 0; i < 10; ++i) {
    cosines.push_back(std::cos(0.3f * static_cast<float>(i)));
    sines.push_back(std::sin(0.3f * static_cast<float>(i)));
  }
  const std::vector<int32_t> positions = {0, 1, 2, 3, 4};
  const RotaryTables tables{.cosines = view_of<float>(std::span<const float>(cosines), {5, 2}),
                            .sines = view_of<float>(std::span<const float>(sines), {5, 2}),
                            .positions = view_of<int32_t>(std::span<const int32_t>(positions), {5})};
  check([&](const OpContext& c, const Variable& x) { return attention(c, x, spec, tables); }, {1, 5, 16}, {});
}

TEST_F(OpsTest, DropoutRepeatsItsMaskInBackward) {
  const RandomKey key{.seed = 5, .purpose = RandomPurpose::kDropout};
  check([&](const OpContext& c, const Variable& x) { return dropout(c, x, 0.4f, key); }, {4, 8}, {});
  const Variable x = variable(random_values(32, 3), {4, 8});
  EXPECT_EQ(dropout({.device = device_}, x, 0, key).value().raw(), x.value().raw());
}

TEST_F(OpsTest, EmbeddingSkipsThePaddingRow) {
  BoundParameter table({4, 3}, 1), positions({2, 3}, 2);
  const std::vector<int32_t> ids = {1, 3, 0, 1}, places = {0, 1, 0, 1};
  const EmbeddingInputs inputs{.ids = view_of<int32_t>(std::span<const int32_t>(ids), {2, 2}),
                               .positions = view_of<int32_t>(std::span<const int32_t>(places), {4}),
                               .padding_id = 3};
  Tape tape;
  const Variable y =
      embedding({.device = device_, .tape = &tape}, inputs, table.parameter, &positions.parameter);
  EXPECT_FLOAT_EQ(y.value().data<float>()[3], table.value[9] + positions.value[3]);
  Tensor dy(device_.memory(), y.shape(), DType::kF32, MemoryTag::kActivations);
  std::fill_n(dy.view().data<float>(), 12, 1.0f);
  y.gradient().add(device_, std::move(dy));
  tape.backward();
  const std::vector<float> expected = {1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(table.gradient, expected);
  EXPECT_EQ(positions.gradient, std::vector<float>(6, 2.0f));
}

TEST_F(OpsTest, LinearCrossEntropyIgnoresAndAverages) {
  BoundParameter weight({7, 4}, 1), bias({7}, 2);
  const std::vector<int32_t> targets = {2, -100, 6};
  const auto mean_loss = [&](const OpContext& context, const Variable& x) {
    return linear_cross_entropy(context, {.x = x,
                                          .weight = &weight.parameter,
                                          .bias = &bias.parameter,
                                          .targets = view_of<int32_t>(std::span<const int32_t>(targets), {3}),
                                          .loss_scale = 3});
  };
  std::vector<float> x = random_values(12, 3);
  Tape tape;
  const Variable input = variable(x, {1, 3, 4});
  const CrossEntropyResult result = mean_loss({.device = device_, .tape = &tape}, input);
  EXPECT_EQ(result.tokens, 2);
  tape.backward();
  const Tensor dx = input.gradient().take();
  const auto numeric = [&](float& element) {
    const float kept = element;
    element = kept + kStep;
    const double above = mean_loss({.device = device_}, variable(x, {1, 3, 4})).mean();
    element = kept - kStep;
    const double below = mean_loss({.device = device_}, variable(x, {1, 3, 4})).mean();
    element = kept;
    return 3 * (above - below) / (2.0 * static_cast<double>(kStep));
  };
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(dx.view().data<float>()[i], numeric(x[i]), 2e-3) << i;
  for (size_t i = 0; i < weight.value.size(); ++i)
    EXPECT_NEAR(weight.gradient[i], numeric(weight.value[i]), 2e-3);
  for (size_t i = 0; i < bias.value.size(); ++i) EXPECT_NEAR(bias.gradient[i], numeric(bias.value[i]), 2e-3);
}

TEST_F(OpsTest, BackwardReleasesWhatItSaved) {
  BoundParameter weight({64, 64}, 1);
  Tape tape;
  const Variable x = variable(random_values(64 * 64, 3), {64, 64});
  const int64_t before = device_.memory().ledger().live();
  {
    const Variable y = linear({.device = device_, .tape = &tape},
                              activation({.device = device_, .tape = &tape}, x, kernels::Activation::kGelu),
                              weight.parameter, nullptr);
    Tensor dy(device_.memory(), y.shape(), DType::kF32, MemoryTag::kActivations);
    y.gradient().add(device_, std::move(dy));
  }
  EXPECT_GT(device_.memory().ledger().live(), before);
  tape.backward();
  (void)x.gradient().take();
  EXPECT_EQ(device_.memory().ledger().live(), before);
}

TEST_F(OpsTest, EveryActivationOnOddRows) {
  for (const auto kind : {kernels::Activation::kQuickGelu, kernels::Activation::kReluSquared,
                          kernels::Activation::kSigmoid, kernels::Activation::kIdentity}) {
    check([&](const OpContext& c, const Variable& x) { return activation(c, x, kind); }, {3, 1, 7}, {});
    check([&](const OpContext& c, const Variable& x) { return gated_activation(c, x, kind); }, {1, 3, 2}, {});
  }
}

TEST_F(OpsTest, AValueUsedByTwoLayersThatShareAWeight) {
  BoundParameter weight({5, 5}, 1), bias({5}, 2);
  check(
      [&](const OpContext& c, const Variable& x) {
        const Variable y = linear(c, x, weight.parameter, &bias.parameter);
        return add(c, linear(c, activation(c, y, kernels::Activation::kTanh), weight.parameter, nullptr),
                   add(c, x, y));
      },
      {3, 5}, {&weight, &bias});
}

TEST_F(OpsTest, AttentionOfEveryShape) {
  for (const kernels::AttentionSpec& spec : std::vector<kernels::AttentionSpec>{
           {.heads = 1, .kv_heads = 1, .head_dim = 1},
           {.heads = 3, .kv_heads = 3, .head_dim = 2, .scale = 0.7f},
           {.heads = 4, .kv_heads = 2, .head_dim = 3, .window = 1},
           {.heads = 2, .kv_heads = 2, .head_dim = 2, .mask = kernels::AttentionMask::kBidirectional}}) {
    check([&](const OpContext& c, const Variable& x) { return attention(c, x, spec, std::nullopt); },
          {2, 3, (spec.heads + 2 * spec.kv_heads) * spec.head_dim}, {});
  }
}

/// sum over rows of log sum exp - target logit, and its slopes, in double.
struct CrossEntropyReference {
  std::vector<float> x, weight;
  std::vector<int32_t> targets;
  int64_t hidden, vocabulary;

  double loss(std::vector<double>* dx, std::vector<double>* dweight) const {
    double sum = 0;
    for (size_t row = 0; row < targets.size(); ++row) {
      if (targets[row] == -100) continue;
      std::vector<double> p(static_cast<size_t>(vocabulary), 0.0);
      double total = 0;
      for (size_t v = 0; v < p.size(); ++v) {
        for (int64_t i = 0; i < hidden; ++i) p[v] += static_cast<double>(x_at(row, i)) * weight_at(v, i);
        total += std::exp(p[v]);
      }
      sum += std::log(total) - p[static_cast<size_t>(targets[row])];
      for (size_t v = 0; v < p.size(); ++v) {
        const double slope = std::exp(p[v]) / total - (static_cast<int32_t>(v) == targets[row] ? 1 : 0);
        for (int64_t i = 0; i < hidden; ++i) {
          (*dx)[row * static_cast<size_t>(hidden) + static_cast<size_t>(i)] += slope * weight_at(v, i);
          (*dweight)[v * static_cast<size_t>(hidden) + static_cast<size_t>(i)] += slope * x_at(row, i);
        }
      }
    }
    return sum;
  }
  double x_at(size_t row, int64_t i) const {
    return x[row * static_cast<size_t>(hidden) + static_cast<size_t>(i)];
  }
  double weight_at(size_t v, int64_t i) const {
    return weight[v * static_cast<size_t>(hidden) + static_cast<size_t>(i)];
  }
};

TEST_F(OpsTest, LinearCrossEntropyOverManyPiecesIsThatOfOne) {
  constexpr int64_t kHidden = 3, kVocabulary = 5, kTokens = 2 * 1024 + 77;  // pieces of 1024 rows
  BoundParameter weight({kVocabulary, kHidden}, 1);
  CrossEntropyReference reference{
      random_values(kTokens * kHidden, 3), weight.value, {}, kHidden, kVocabulary};
  const RandomStream random({.seed = 17});
  int64_t counted = 0;
  for (uint64_t i = 0; i < kTokens; ++i) {
    reference.targets.push_back(
        random.below(7, 4 * i) == 0 ? -100 : static_cast<int32_t>(random.below(5, 4 * i + 2)));
    counted += reference.targets.back() == -100 ? 0 : 1;
  }
  std::vector<double> dx(kTokens * kHidden, 0.0), dweight(kVocabulary * kHidden, 0.0);
  const double loss = reference.loss(&dx, &dweight);
  Tape tape;
  const Variable x = variable(reference.x, {kTokens, kHidden});
  const CrossEntropyResult result = linear_cross_entropy(
      {.device = device_, .tape = &tape},
      {.x = x,
       .weight = &weight.parameter,
       .targets = view_of<int32_t>(std::span<const int32_t>(reference.targets), {kTokens}),
       .loss_scale = 8});
  EXPECT_EQ(result.tokens, counted);
  EXPECT_NEAR(result.loss_sum, loss, 1e-5 * loss);
  tape.backward();
  const Tensor found = x.gradient().take();
  const double scale = 8.0 / static_cast<double>(counted);
  for (size_t i = 0; i < dx.size(); ++i) ASSERT_NEAR(found.view().data<float>()[i], scale * dx[i], 1e-6) << i;
  for (size_t i = 0; i < dweight.size(); ++i) ASSERT_NEAR(weight.gradient[i], scale * dweight[i], 1e-5) << i;
}

TEST_F(OpsTest, LinearCrossEntropyOfNothingCountedIsZero) {
  BoundParameter weight({5, 4}, 1);
  const std::vector<int32_t> targets(6, -100);
  Tape tape;
  const Variable x = variable(random_values(24, 3), {2, 3, 4});
  const CrossEntropyResult result =
      linear_cross_entropy({.device = device_, .tape = &tape},
                           {.x = x,
                            .weight = &weight.parameter,
                            .targets = view_of<int32_t>(std::span<const int32_t>(targets), {2, 3})});
  EXPECT_EQ(result.tokens, 0);
  EXPECT_EQ(result.mean(), 0);
  tape.backward();
  const Tensor dx = x.gradient().take();
  for (const float g : dx.view().span<float>()) EXPECT_EQ(g, 0);
  EXPECT_EQ(weight.gradient, std::vector<float>(20, 0.0f));
}

TEST_F(OpsTest, AFullDeviceIsAnErrorAndLeavesNothingBehind) {
  DeviceContext small({.device_budget_bytes = 3 * 4096});
  BoundParameter weight({64, 64}, 1);
  Tape tape;
  {
    Tensor input(small.memory(), {16, 64}, DType::kF32, MemoryTag::kActivations);
    const Variable x(std::move(input));
    const OpContext context{.device = small, .tape = &tape};
    EXPECT_THROW(
        {
          Variable y = x;
          for (int i = 0; i < 4; ++i) y = activation(context, y, kernels::Activation::kTanh);
        },
        Error);
  }
  tape = Tape();
  EXPECT_EQ(small.memory().ledger().live(), 0);
}

}  // namespace
}  // namespace aleph::autograd
