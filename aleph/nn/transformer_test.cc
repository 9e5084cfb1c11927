// Whole models against a transformer in plain double loops: values, and gradients against central differences
// of the double loss, for every option a block has.
#include "aleph/nn/transformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numbers>
#include <set>

#include "aleph/base/random.h"
#include "aleph/nn/layers.h"

namespace aleph::nn {
namespace {

using autograd::Parameter;
using Rows = std::vector<std::vector<double>>;

constexpr int64_t kBatch = 2, kSeq = 5, kHidden = 12, kVocabulary = 11, kHeadDim = 4;

double activate(kernels::Activation kind, double x) {
  const double c = std::sqrt(2 / std::numbers::pi);
  switch (kind) {
    case kernels::Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::numbers::sqrt2));
    case kernels::Activation::kGeluTanh:
      return x / 2 * (1 + std::tanh(c * (x + 0.044715 * x * x * x)));
    case kernels::Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case kernels::Activation::kSilu:
      return x / (1 + std::exp(-x));
    case kernels::Activation::kRelu:
      return std::max(x, 0.0);
    case kernels::Activation::kReluSquared:
      return x > 0 ? x * x : 0;
    case kernels::Activation::kTanh:
      return std::tanh(x);
    case kernels::Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case kernels::Activation::kIdentity:
      return x;
  }
  return NAN;
}

/// Token ids, positions and targets of one batch.
struct Tokens {
  std::vector<int32_t> ids, positions, targets;

  Batch batch() const {
    return {.ids = view_of<int32_t>(std::span(ids), {kBatch, kSeq}),
            .positions = view_of<int32_t>(std::span(positions), {kBatch * kSeq}),
            .targets = view_of<int32_t>(std::span(targets), {kBatch, kSeq})};
  }
};

Tokens random_tokens(uint64_t seed) {
  const RandomStream random({.seed = seed});
  Tokens tokens;
  for (uint64_t i = 0; i < kBatch * kSeq; ++i) {
    tokens.ids.push_back(static_cast<int32_t>(random.below(kVocabulary, 4 * i)));
    tokens.positions.push_back(static_cast<int32_t>((i % kSeq + i / kSeq) % 7));  // rows begin at 0 and at 1
    tokens.targets.push_back(static_cast<int32_t>(random.below(kVocabulary, 4 * i + 2)));
  }
  tokens.targets[3] = -100;
  return tokens;
}

/// The model by definition. Weights by parameter name.
class Reference {
 public:
  Reference(const Model::Options& options, const Tokens& tokens) : options_(options), tokens_(tokens) {}

  std::map<std::string, std::vector<double>> weights;

  /// The state after the final norm, [tokens][hidden].
  Rows last_hidden() const {
    Rows x = embed();
    for (size_t i = 0; i < options_.blocks.size(); ++i)
      x = block(options_.blocks[i], fmt::format("blocks.{}.", i), x);
    return norm(options_.head.norm, options_.head.norm_epsilon, "head.norm", x);
  }

  Rows logits() const {
    if (!options_.head.tied) return linear("head.output", last_hidden(), kVocabulary);
    return multiply(weights.at("embedding.tokens.weight"), last_hidden(), kVocabulary);
  }

  /// Mean over the targets that count.
  double loss() const {
    const Rows all = logits();
    double sum = 0, count = 0;
    for (size_t t = 0; t < all.size(); ++t) {
      if (tokens_.targets[t] == -100) continue;
      double total = 0;
      for (const double logit : all[t]) total += std::exp(logit);
      sum += std::log(total) - all[t][static_cast<size_t>(tokens_.targets[t])];
      ++count;
    }
    return sum / count;
  }

 private:
  Rows embed() const {
    Rows x(tokens_.ids.size(), std::vector<double>(kHidden));
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t i = 0; i < kHidden; ++i) {
        x[t][i] = weights.at("embedding.tokens.weight")[static_cast<size_t>(tokens_.ids[t]) * kHidden + i];
        if (options_.embedding.learned_positions > 0)
          x[t][i] += weights.at(
              "embedding.positions.weight")[static_cast<size_t>(tokens_.positions[t]) * kHidden + i];
      }
    }
    return x;
  }

  static Rows multiply(const std::vector<double>& weight, const Rows& x, int64_t out) {
    Rows y(x.size(), std::vector<double>(static_cast<size_t>(out), 0.0));
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t o = 0; o < y[t].size(); ++o) {
        for (size_t i = 0; i < x[t].size(); ++i) y[t][o] += weight[o * x[t].size() + i] * x[t][i];
      }
    }
    return y;
  }

  Rows linear(const std::string& name, const Rows& x, int64_t out) const {
    Rows y = multiply(weights.at(name + ".weight"), x, out);
    const auto bias = weights.find(name + ".bias");
    if (bias == weights.end()) return y;
    for (std::vector<double>& row : y) {
      for (size_t o = 0; o < row.size(); ++o) row[o] += bias->second[o];
    }
    return y;
  }

  Rows norm(NormKind kind, float epsilon, const std::string& name, Rows x) const {
    for (std::vector<double>& row : x) {
      double mean = 0, square = 0;
      const auto n = static_cast<double>(row.size());
      if (kind == NormKind::kLayerNorm) {
        for (const double value : row) mean += value / n;
      }
      for (const double value : row) square += (value - mean) * (value - mean) / n;
      for (size_t i = 0; i < row.size(); ++i) {
        row[i] = (row[i] - mean) / std::sqrt(square + static_cast<double>(epsilon)) *
                 weights.at(name + ".weight")[i];
        if (kind == NormKind::kLayerNorm) row[i] += weights.at(name + ".bias")[i];
      }
    }
    return x;
  }

  void turn(const RotarySpec& spec, double* head, int32_t position) const {
    const std::vector<float> frequencies = rotary_frequencies(spec);
    const int64_t pairs = spec.rotary_dim / 2;
    for (int64_t i = 0; i < pairs; ++i) {
      const bool halves = spec.layout == kernels::RotaryLayout::kHalves;
      double& a = head[halves ? i : 2 * i];
      double& b = head[halves ? i + pairs : 2 * i + 1];
      const double angle = static_cast<double>(frequencies[static_cast<size_t>(i)]) * position;
      const double turned = a * std::cos(angle) - b * std::sin(angle);
      b = b * std::cos(angle) + a * std::sin(angle);
      a = turned;
    }
  }

  Rows attention(const BlockSpec& spec, Rows qkv) const {
    for (size_t t = 0; t < qkv.size() && spec.rotary; ++t) {
      for (int64_t h = 0; h < spec.heads + spec.kv_heads; ++h)
        turn(*spec.rotary, qkv[t].data() + h * spec.head_dim, tokens_.positions[t]);
    }
    Rows out(qkv.size(), std::vector<double>(static_cast<size_t>(spec.heads * spec.head_dim), 0.0));
    for (int64_t t = 0; t < kBatch * kSeq; ++t) {
      for (int64_t h = 0; h < spec.heads; ++h) attend(spec, qkv, t, h, out[static_cast<size_t>(t)]);
    }
    return out;
  }

  /// One query of one head over the keys of its own row of the batch.
  static void attend(const BlockSpec& spec, const Rows& qkv, int64_t t, int64_t h, std::vector<double>& out) {
    const int64_t group = h / (spec.heads / spec.kv_heads), row = t / kSeq * kSeq;
    const auto at = [&](int64_t token, int64_t head, int64_t i) {
      return qkv[static_cast<size_t>(token)][static_cast<size_t>(head * spec.head_dim + i)];
    };
    double total = 0;
    for (const bool sum : {true, false}) {
      for (int64_t key = row; key <= t; ++key) {
        if (t - key >= spec.attention_window) continue;
        double score = 0;
        for (int64_t i = 0; i < spec.head_dim; ++i) score += at(t, h, i) * at(key, spec.heads + group, i);
        const double weight = std::exp(static_cast<double>(spec.attention_scale) * score);
        if (sum) total += weight;
        for (int64_t i = 0; i < spec.head_dim && !sum; ++i)
          out[static_cast<size_t>(h * spec.head_dim + i)] +=
              weight / total * at(key, spec.heads + spec.kv_heads + group, i);
      }
    }
  }

  Rows block(const BlockSpec& spec, const std::string& name, Rows x) const {
    const auto add = [&](const Rows& y) {
      for (size_t t = 0; t < x.size(); ++t) {
        for (size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
      }
    };
    const int64_t width = (spec.heads + 2 * spec.kv_heads) * spec.head_dim;
    const Rows qkv =
        linear(name + "attention.qkv", norm(spec.norm, spec.norm_epsilon, name + "attention_norm", x), width);
    add(linear(name + "attention.output", attention(spec, qkv), kHidden));
    const int64_t up = (spec.gated_mlp ? 2 : 1) * spec.intermediate_size;
    Rows y = linear(name + "mlp.up", norm(spec.norm, spec.norm_epsilon, name + "mlp_norm", x), up);
    for (std::vector<double>& row : y) {
      for (size_t i = 0; i < static_cast<size_t>(spec.intermediate_size); ++i) {
        const double gate = activate(spec.activation, row[i]);
        row[i] = spec.gated_mlp ? gate * row[i + static_cast<size_t>(spec.intermediate_size)] : gate;
      }
      row.resize(static_cast<size_t>(spec.intermediate_size));
    }
    add(linear(name + "mlp.down", y, kHidden));
    return x;
  }

  Model::Options options_;
  Tokens tokens_;
};

/// A model whose parameters are bound to memory for good.
class BoundModel {
 public:
  BoundModel(DeviceContext& device, const Model::Options& options, uint64_t seed) : model_(device, options) {
    for (Parameter* parameter : model_.parameters()) {
      std::vector<float>& value = values_[parameter->name];
      const RandomStream random({.seed = seed, .stream = stable_hash(parameter->name)});
      for (int64_t i = 0; i < parameter->shape.elements(); ++i)
        value.push_back((parameter->init.kind == autograd::InitKind::kOnes ? 1.0f : 0.0f) +
                        0.4f * random.normal(static_cast<uint64_t>(i)));
      gradients_[parameter->name].assign(value.size(), 0.0f);
      parameter->value = view_of<float>(std::span(value), parameter->shape);
      parameter->gradient = view_of<float>(std::span(gradients_[parameter->name]), parameter->shape);
    }
  }
  autograd::Variable run(Pass& pass) {
    autograd::Variable hidden;
    for (const auto& block : model_.blocks()) hidden = block->forward(pass, hidden);
    return hidden;
  }
  const Model& model() const { return model_; }
  std::map<std::string, std::vector<float>>& values() { return values_; }
  std::map<std::string, std::vector<float>>& gradients() { return gradients_; }

 private:
  Model model_;
  std::map<std::string, std::vector<float>> values_, gradients_;
};

BlockSpec gpt_block() {
  return {.hidden_size = kHidden,
          .intermediate_size = 10,
          .heads = 3,
          .kv_heads = 3,
          .head_dim = kHeadDim,
          .attention_scale = 0.5f};
}
BlockSpec llama_block() {
  BlockSpec block = gpt_block();
  block.kv_heads = 1;
  block.norm = NormKind::kRmsNorm;
  block.norm_epsilon = 1e-6f;
  block.activation = kernels::Activation::kSilu;
  block.gated_mlp = true;
  block.qkv_bias = block.attention_output_bias = block.mlp_bias = false;
  block.rotary = RotarySpec{.rotary_dim = kHeadDim};
  return block;
}
Model::Options model_of(std::vector<BlockSpec> blocks) {
  const NormKind norm = blocks[0].norm;
  return {.embedding = {.vocab_size = kVocabulary,
                        .hidden_size = kHidden,
                        .learned_positions = blocks[0].rotary ? 0 : 8},
          .blocks = std::move(blocks),
          .head = {.vocab_size = kVocabulary, .hidden_size = kHidden, .norm = norm},
          .max_seq = 8};
}

struct Case {
  std::string name;
  Model::Options options;
};

/// GPT-2 and Llama, and each option changed in one of them.
std::vector<Case> cases() {
  std::vector<Case> all = {{"Gpt2", model_of({gpt_block(), gpt_block()})},
                           {"Llama", model_of({llama_block(), llama_block()})}};
  const auto gpt = [&](const std::string& name, const auto& change) {
    all.push_back({name, model_of({gpt_block()})});
    change(all.back().options, all.back().options.blocks[0]);
  };
  const auto llama = [&](const std::string& name, const auto& change) {
    all.push_back({name, model_of({llama_block()})});
    change(all.back().options, all.back().options.blocks[0]);
  };
  using Options = Model::Options;
  gpt("NoBlocks", [](Options& o, BlockSpec&) { o.blocks.clear(); });
  gpt("NoQkvBias", [](Options&, BlockSpec& b) { b.qkv_bias = false; });
  gpt("NoOutputBias", [](Options&, BlockSpec& b) { b.attention_output_bias = false; });
  gpt("NoMlpBias", [](Options&, BlockSpec& b) { b.mlp_bias = false; });
  gpt("LargeEpsilon", [](Options& o, BlockSpec& b) { b.norm_epsilon = o.head.norm_epsilon = 0.3f; });
  gpt("Untied", [](Options& o, BlockSpec&) { o.head.tied = false; });
  gpt("UntiedWithBias", [](Options& o, BlockSpec&) { o.head.tied = false, o.head.output_bias = true; });
  gpt("LocalAndGlobal", [](Options& o, BlockSpec& b) {
    b.attention_window = 2;
    b.attention_scale = 1;
    o.blocks.push_back(gpt_block());
  });
  gpt("WindowOfOne", [](Options&, BlockSpec& b) { b.attention_window = 1; });
  gpt("HeadsWiderThanHidden", [](Options&, BlockSpec& b) { b.head_dim = 6; });
  gpt("GatedWithBias", [](Options&, BlockSpec& b) { b.gated_mlp = true; });
  gpt("OneHead", [](Options&, BlockSpec& b) { b.heads = b.kv_heads = 1, b.head_dim = 12; });
  for (const auto kind :
       {kernels::Activation::kGelu, kernels::Activation::kQuickGelu, kernels::Activation::kReluSquared,
        kernels::Activation::kTanh, kernels::Activation::kSigmoid, kernels::Activation::kIdentity})
    gpt(fmt::format("Activation{}", static_cast<int>(kind)),
        [kind](Options&, BlockSpec& b) { b.activation = kind; });
  llama("AllKeyValueHeads", [](Options&, BlockSpec& b) { b.kv_heads = 3; });
  llama("QkvBias", [](Options&, BlockSpec& b) { b.qkv_bias = true; });
  llama("PartOfTheHeadTurns", [](Options&, BlockSpec& b) { b.rotary->rotary_dim = 2; });
  llama("Interleaved",
        [](Options&, BlockSpec& b) { b.rotary->layout = kernels::RotaryLayout::kInterleaved; });
  llama("LinearScaling",
        [](Options&, BlockSpec& b) { b.rotary->scaling = RopeScaling::kLinear, b.rotary->factor = 2.5; });
  llama("Llama3Scaling", [](Options&, BlockSpec& b) {
    b.rotary->scaling = RopeScaling::kLlama3;
    b.rotary->factor = 8;
    b.rotary->theta = 50;
    b.rotary->original_max_positions = 16;
  });
  llama("TwoKindsOfTables", [](Options& o, BlockSpec&) {
    o.blocks.push_back(llama_block());
    o.blocks[1].rotary->theta = 10;
  });
  llama("RotaryAndLearnedPositions", [](Options& o, BlockSpec&) { o.embedding.learned_positions = 8; });
  llama("NotGated", [](Options&, BlockSpec& b) { b.gated_mlp = false; });
  return all;
}

class TransformerOfSpecs : public ::testing::TestWithParam<Case> {
 protected:
  TransformerOfSpecs()
      : tokens_(random_tokens(5)),
        bound_(device_, GetParam().options, 9),
        reference_(GetParam().options, tokens_) {
    for (const auto& [name, values] : bound_.values())
      reference_.weights[name].assign(values.begin(), values.end());
  }
  DeviceContext device_{DeviceContext::Options{}};
  Tokens tokens_;
  BoundModel bound_;
  Reference reference_;
};

TEST_P(TransformerOfSpecs, ComputesWhatPlainLoopsCompute) {
  std::vector<float> logits(kBatch * kSeq * kVocabulary), hidden(kBatch * kSeq * kHidden);
  Pass pass{.op = {.device = device_}, .batch = tokens_.batch()};
  pass.logits = view_of<float>(std::span(logits), {kBatch, kSeq, kVocabulary});
  pass.last_hidden = view_of<float>(std::span(hidden), {kBatch, kSeq, kHidden});
  EXPECT_FALSE(bound_.run(pass)) << "the head returns nothing";
  const Rows expected_logits = reference_.logits(), expected_hidden = reference_.last_hidden();
  for (size_t t = 0; t < kBatch * kSeq; ++t) {
    for (size_t v = 0; v < kVocabulary; ++v)
      ASSERT_NEAR(logits[t * kVocabulary + v], expected_logits[t][v], 3e-5) << t << " " << v;
    for (size_t i = 0; i < kHidden; ++i) ASSERT_NEAR(hidden[t * kHidden + i], expected_hidden[t][i], 3e-5);
  }
  EXPECT_EQ(pass.result.tokens, kBatch * kSeq - 1);
  EXPECT_NEAR(pass.result.mean(), reference_.loss(), 1e-5);
}

TEST_P(TransformerOfSpecs, GradientsAreTheSlopesOfTheLoss) {
  autograd::Tape tape;
  Pass pass{.op = {.device = device_, .tape = &tape}, .batch = tokens_.batch()};
  pass.loss_scale = 2;
  bound_.run(pass);
  tape.backward();
  constexpr double kStep = 1e-5;
  for (auto& [name, values] : reference_.weights) {
    const std::vector<float>& gradient = bound_.gradients().at(name);
    double largest = 0;
    for (const float g : gradient) largest = std::max(largest, std::abs(static_cast<double>(g)));
    for (size_t i = 0; i < values.size(); i += 1 + values.size() / 40) {
      const double kept = values[i];
      values[i] = kept + kStep;
      const double above = reference_.loss();
      values[i] = kept - kStep;
      const double slope = 2 * (above - reference_.loss()) / (2 * kStep);
      values[i] = kept;
      ASSERT_NEAR(gradient[i], slope, 2e-5 + 1e-4 * largest) << name << "[" << i << "]";
    }
  }
}

TEST_P(TransformerOfSpecs, ListsEveryParameterOnceWithItsShape) {
  const Model::Options& options = GetParam().options;
  std::map<std::string, Shape> expected = {{"embedding.tokens.weight", {kVocabulary, kHidden}}};
  const auto put_norm = [&](const std::string& name, NormKind kind) {
    expected[name + ".weight"] = {kHidden};
    if (kind == NormKind::kLayerNorm) expected[name + ".bias"] = {kHidden};
  };
  const auto put_linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    expected[name + ".weight"] = {out, in};
    if (bias) expected[name + ".bias"] = {out};
  };
  if (options.embedding.learned_positions > 0) expected["embedding.positions.weight"] = {8, kHidden};
  for (size_t i = 0; i < options.blocks.size(); ++i) {
    const BlockSpec& spec = options.blocks[i];
    const std::string name = fmt::format("blocks.{}.", i);
    put_norm(name + "attention_norm", spec.norm);
    put_linear(name + "attention.qkv", (spec.heads + 2 * spec.kv_heads) * spec.head_dim, kHidden,
               spec.qkv_bias);
    put_linear(name + "attention.output", kHidden, spec.heads * spec.head_dim, spec.attention_output_bias);
    put_norm(name + "mlp_norm", spec.norm);
    put_linear(name + "mlp.up", (spec.gated_mlp ? 2 : 1) * spec.intermediate_size, kHidden, spec.mlp_bias);
    put_linear(name + "mlp.down", kHidden, spec.intermediate_size, spec.mlp_bias);
  }
  put_norm("head.norm", options.head.norm);
  if (!options.head.tied) put_linear("head.output", kVocabulary, kHidden, options.head.output_bias);
  const std::vector<Parameter*> parameters = bound_.model().parameters();
  EXPECT_EQ(parameters.size(), expected.size());
  EXPECT_EQ(parameters.front()->name, "embedding.tokens.weight");
  for (const Parameter* parameter : parameters) {
    ASSERT_TRUE(expected.contains(parameter->name)) << parameter->name;
    EXPECT_EQ(parameter->shape, expected.at(parameter->name)) << parameter->name;
    const bool norm_weight = parameter->name.find("norm.weight") != std::string::npos;
    EXPECT_EQ(parameter->init.kind, norm_weight              ? autograd::InitKind::kOnes
                                    : parameter->is_matrix() ? autograd::InitKind::kNormal
                                                             : autograd::InitKind::kZeros);
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, TransformerOfSpecs, ::testing::ValuesIn(cases()),
                         [](const auto& spec) { return spec.param.name; });

class TransformerPasses : public ::testing::Test {
 protected:
  static Model::Options options(float dropout) {
    BlockSpec block = llama_block();
    block.residual_dropout = block.attention_dropout = dropout;
    Model::Options all = model_of({block, block});
    all.embedding.dropout = dropout;
    return all;
  }
  double loss(BoundModel& bound, const Pass& pass) {
    Pass copy = pass;
    bound.run(copy);
    return copy.result.mean();
  }
  Pass pass(uint64_t seed, uint64_t micro_step, bool training = true) {
    return {.op = {.device = device_},
            .batch = tokens_.batch(),
            .training = training,
            .seed = seed,
            .micro_step = micro_step};
  }
  DeviceContext device_{DeviceContext::Options{}};
  Tokens tokens_ = random_tokens(6);
};

TEST_F(TransformerPasses, DropoutDependsOnSeedAndMicroStepAndIsOffOutsideTraining) {
  BoundModel bound(device_, options(0.3f), 9), plain(device_, options(0), 9);
  const double first = loss(bound, pass(1, 7));
  EXPECT_EQ(loss(bound, pass(1, 7)), first);
  EXPECT_NE(loss(bound, pass(2, 7)), first);
  EXPECT_NE(loss(bound, pass(1, 8)), first);
  EXPECT_EQ(loss(bound, pass(1, 7, false)), loss(plain, pass(5, 5)));
}

TEST_F(TransformerPasses, DropoutsOfAllPlacesDiffer) {
  // With the same mask at two places of equal shape, the block's two residual branches would drop alike.
  BoundModel bound(device_, options(0.5f), 9);
  std::set<double> losses;
  for (int place = 0; place < 3; ++place) {
    Model::Options one = options(0);
    one.embedding.dropout = place == 0 ? 0.5f : 0.0f;
    one.blocks[0].residual_dropout = place == 1 ? 0.5f : 0.0f;
    one.blocks[1].residual_dropout = place == 2 ? 0.5f : 0.0f;
    BoundModel each(device_, one, 9);
    losses.insert(loss(each, pass(1, 1)));
  }
  losses.insert(loss(bound, pass(1, 1)));
  EXPECT_EQ(losses.size(), 4u);
}

TEST_F(TransformerPasses, RunningABlockAgainGivesTheSameBitsAndGradients) {
  BoundModel kept(device_, options(0.3f), 9), again(device_, options(0.3f), 9);
  autograd::Tape tape;
  Pass first = pass(1, 3);
  first.op.tape = &tape;
  kept.run(first);
  tape.backward();
  // As recomputation does: forward without a tape, then each block again with one.
  std::vector<autograd::Variable> inputs(again.model().blocks().size() + 1);
  Pass second = pass(1, 3);
  for (size_t i = 0; i + 1 < inputs.size() - 1; ++i)
    inputs[i + 1] = again.model().blocks()[i]->forward(second, inputs[i]);
  autograd::Gradient output;
  for (size_t i = inputs.size() - 1; i-- > 0;) {
    autograd::Tape own;
    second.op.tape = &own;
    const autograd::Variable y = again.model().blocks()[i]->forward(second, inputs[i]);
    if (y) y.gradient().add(device_, output.take());
    own.backward();
    if (inputs[i]) output = inputs[i].gradient();
  }
  EXPECT_EQ(second.result.loss_sum, first.result.loss_sum);
  EXPECT_EQ(again.gradients(), kept.gradients());
}

TEST_F(TransformerPasses, WithoutATapeNothingIsKept) {
  BoundModel bound(device_, options(0.1f), 9);
  const int64_t before = device_.memory().ledger().live();
  (void)loss(bound, pass(1, 1));
  EXPECT_EQ(device_.memory().ledger().live(), before);
  for (const auto& [name, gradient] : bound.gradients())
    EXPECT_EQ(gradient, std::vector<float>(gradient.size(), 0.0f)) << name;
}

TEST_F(TransformerPasses, ThePaddingRowGetsNoGradientThroughTheLookUp) {
  Model::Options padded = options(0);
  padded.embedding.padding_id = tokens_.ids[0];
  padded.head.tied = false;
  BoundModel bound(device_, padded, 9);
  autograd::Tape tape;
  Pass one = pass(1, 1);
  one.op.tape = &tape;
  bound.run(one);
  tape.backward();
  const std::vector<float>& gradient = bound.gradients().at("embedding.tokens.weight");
  for (int64_t id = 0; id < kVocabulary; ++id) {
    const bool used = std::find(tokens_.ids.begin(), tokens_.ids.end(), id) != tokens_.ids.end();
    double sum = 0;
    for (int64_t i = 0; i < kHidden; ++i)
      sum += std::abs(static_cast<double>(gradient[static_cast<size_t>(id * kHidden + i)]));
    EXPECT_EQ(sum > 0, used && id != tokens_.ids[0]) << id;
  }
}

TEST_F(TransformerPasses, OnlyTheEmbeddingNeedsNoValuesInBackward) {
  const Model model(device_, options(0));
  EXPECT_EQ(model.blocks()[0]->backward_pin(), autograd::PinMode::kGradient);
  for (size_t i = 1; i < model.blocks().size(); ++i)
    EXPECT_EQ(model.blocks()[i]->backward_pin(), autograd::PinMode::kValueAndGradient);
}

TEST_F(TransformerPasses, BlocksOfOneSpecShareOneTable) {
  const int64_t before = device_.memory().ledger().live();
  const Model shared(device_, options(0));
  const int64_t one = device_.memory().ledger().live() - before;
  EXPECT_GT(one, 0);
  Model::Options two = options(0);
  two.blocks[1].rotary->theta = 20;
  const Model apart(device_, two);
  EXPECT_EQ(device_.memory().ledger().live() - before, 3 * one);
}

TEST(LayersTest, InitialSpreadsAreThoseOfGpt2) {
  DeviceContext device({.kind = DeviceKind::kMeta});
  const Model model(device, model_of({gpt_block(), gpt_block()}));
  for (const Parameter* parameter : model.parameters()) {
    if (!parameter->is_matrix()) continue;
    const bool into_residual = parameter->name.find("attention.output") != std::string::npos ||
                               parameter->name.find("mlp.down") != std::string::npos;
    EXPECT_FLOAT_EQ(parameter->init.std, into_residual ? 0.02f / 2 : 0.02f) << parameter->name;
  }
}

}  // namespace
}  // namespace aleph::nn
