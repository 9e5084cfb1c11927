#include "aleph/nn/transformer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/nn/layers.h"

namespace aleph::nn {
namespace {

using autograd::InitKind;
using autograd::Parameter;
using autograd::Variable;

constexpr float kInitStd = 0.02f;  // GPT-2 (Radford et al., 2019)

/// Keys of dropout: three places in a block, and the embedding.
enum class DropoutPlace : uint32_t { kAttention, kAttentionOutput, kMlpOutput, kEmbedding, kCount };

RandomKey dropout_key(const Pass& pass, uint32_t block, DropoutPlace place) {
  const auto places = static_cast<uint32_t>(DropoutPlace::kCount);
  return {.seed = pass.seed,
          .purpose = RandomPurpose::kDropout,
          .stream = block * places + static_cast<uint32_t>(place),
          .step = pass.micro_step};
}

class EmbeddingBlock final : public Block {
 public:
  explicit EmbeddingBlock(const EmbeddingSpec& spec) : spec_(spec) {
    tokens_ = {.name = "embedding.tokens.weight",
               .shape = {spec.vocab_size, spec.hidden_size},
               .init = {.kind = InitKind::kNormal, .std = kInitStd}};
    positions_ = {.name = "embedding.positions.weight",
                  .shape = {spec.learned_positions, spec.hidden_size},
                  .init = {.kind = InitKind::kNormal, .std = kInitStd}};
  }

  std::vector<Parameter*> parameters() override {
    if (spec_.learned_positions == 0) return {&tokens_};
    return {&tokens_, &positions_};
  }

  Variable forward(Pass& pass, const Variable& /*hidden*/) override {
    const Variable x = autograd::embedding(
        pass.op, {.ids = pass.batch.ids, .positions = pass.batch.positions, .padding_id = spec_.padding_id},
        tokens_, spec_.learned_positions == 0 ? nullptr : &positions_);
    return autograd::dropout(pass.op, x, pass.training ? spec_.dropout : 0,
                             dropout_key(pass, 0, DropoutPlace::kEmbedding));
  }

  autograd::PinMode backward_pin() const override { return autograd::PinMode::kGradient; }
  Parameter& tokens() { return tokens_; }

 private:
  EmbeddingSpec spec_;
  Parameter tokens_, positions_;
};

class TransformerBlock final : public Block {
 public:
  TransformerBlock(const BlockSpec& spec, size_t index, size_t num_blocks, const RotaryTable* rotary)
      : spec_(spec), index_(static_cast<uint32_t>(index)), rotary_(rotary) {
    const std::string name = fmt::format("blocks.{}.", index);
    const float residual_std = kInitStd / std::sqrt(2.0f * static_cast<float>(num_blocks));
    const int64_t query_size = spec.heads * spec.head_dim, kv_size = spec.kv_heads * spec.head_dim;
    attention_norm_ = Norm::make(name + "attention_norm", spec.norm, spec.hidden_size, spec.norm_epsilon);
    qkv_ = Linear::make(name + "attention.qkv", spec.hidden_size, query_size + 2 * kv_size, spec.qkv_bias,
                        kInitStd);
    output_ = Linear::make(name + "attention.output", query_size, spec.hidden_size,
                           spec.attention_output_bias, residual_std);
    mlp_norm_ = Norm::make(name + "mlp_norm", spec.norm, spec.hidden_size, spec.norm_epsilon);
    up_ = Linear::make(name + "mlp.up", spec.hidden_size, (spec.gated_mlp ? 2 : 1) * spec.intermediate_size,
                       spec.mlp_bias, kInitStd);
    down_ = Linear::make(name + "mlp.down", spec.intermediate_size, spec.hidden_size, spec.mlp_bias,
                         residual_std);
  }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all;
    attention_norm_.collect(all);
    qkv_.collect(all);
    output_.collect(all);
    mlp_norm_.collect(all);
    up_.collect(all);
    down_.collect(all);
    return all;
  }

  Variable forward(Pass& pass, const Variable& hidden) override {
    const Variable attended = autograd::add(pass.op, hidden, attend(pass, hidden));
    return autograd::add(pass.op, attended, transform(pass, attended));
  }

 private:
  Variable attend(const Pass& pass, const Variable& hidden) {
    const Variable qkv = qkv_.forward(pass.op, attention_norm_.forward(pass.op, hidden));
    const Variable mixed = autograd::attention(pass.op, qkv, attention_spec(pass), rotary_tables(pass));
    return drop(pass, output_.forward(pass.op, mixed), DropoutPlace::kAttentionOutput);
  }

  Variable transform(const Pass& pass, const Variable& hidden) {
    return drop(pass, down_.forward(pass.op, activate(pass, up(pass, hidden))), DropoutPlace::kMlpOutput);
  }

  Variable up(const Pass& pass, const Variable& hidden) {
    return up_.forward(pass.op, mlp_norm_.forward(pass.op, hidden));
  }

  Variable activate(const Pass& pass, const Variable& x) const {
    return spec_.gated_mlp ? autograd::gated_activation(pass.op, x, spec_.activation)
                           : autograd::activation(pass.op, x, spec_.activation);
  }

  Variable drop(const Pass& pass, const Variable& x, DropoutPlace place) const {
    return autograd::dropout(pass.op, x, pass.training ? spec_.residual_dropout : 0,
                             dropout_key(pass, index_ + 1, place));
  }

  kernels::AttentionSpec attention_spec(const Pass& pass) const {
    return {.heads = spec_.heads,
            .kv_heads = spec_.kv_heads,
            .head_dim = spec_.head_dim,
            .scale = spec_.attention_scale,
            .mask = kernels::AttentionMask::kCausal,
            .window = spec_.attention_window,
            .dropout = pass.training ? spec_.attention_dropout : 0,
            .dropout_key = dropout_key(pass, index_ + 1, DropoutPlace::kAttention)};
  }

  std::optional<autograd::RotaryTables> rotary_tables(const Pass& pass) const {
    if (rotary_ == nullptr) return std::nullopt;
    return autograd::RotaryTables{.cosines = rotary_->cosines.view(),
                                  .sines = rotary_->sines.view(),
                                  .positions = pass.batch.positions,
                                  .layout = spec_.rotary->layout};
  }

  BlockSpec spec_;
  uint32_t index_;
  const RotaryTable* rotary_;
  Norm attention_norm_;
  Linear qkv_, output_;
  Norm mlp_norm_;
  Linear up_, down_;
};

class HeadBlock final : public Block {
 public:
  HeadBlock(const HeadSpec& spec, Parameter& token_embedding)
      : norm_(make_norm(spec)), token_embedding_(token_embedding) {
    if (!spec.tied) {
      output_ = Linear::make("head.output", spec.hidden_size, spec.vocab_size, spec.output_bias, kInitStd);
    }
  }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all;
    norm_.collect(all);
    if (output_) {
      output_->collect(all);
    } else {
      all.push_back(&token_embedding_);
    }
    return all;
  }

  Variable forward(Pass& pass, const Variable& hidden) override {
    const Variable x = norm_.forward(pass.op, hidden);
    if (pass.last_hidden) kernels::convert(pass.op.device, x.value(), pass.last_hidden);
    if (pass.logits) write_logits(pass, x);
    pass.result = autograd::linear_cross_entropy(pass.op, {.x = x,
                                                           .weight = &weight(),
                                                           .bias = bias(),
                                                           .targets = pass.batch.targets,
                                                           .loss_scale = pass.loss_scale});
    return {};
  }

 private:
  static Norm make_norm(const HeadSpec& spec) {
    return Norm::make("head.norm", spec.norm, spec.hidden_size, spec.norm_epsilon);
  }
  Parameter& weight() { return output_ ? output_->weight : token_embedding_; }
  Parameter* bias() { return output_ && output_->bias ? &*output_->bias : nullptr; }

  void write_logits(const Pass& pass, const Variable& x) {
    kernels::matmul(pass.op.device,
                    {.a = x.value(),
                     .b = weight().value,
                     .transpose_b = true,
                     .c = pass.logits,
                     .bias = bias() == nullptr ? ConstTensorView() : ConstTensorView(bias()->value)});
  }

  Norm norm_;
  std::optional<Linear> output_;
  Parameter& token_embedding_;
};

}  // namespace

Model::Model(DeviceContext& device, const Options& options) : options_(options) {
  auto embedding = std::make_unique<EmbeddingBlock>(options.embedding);
  Parameter& token_embedding = embedding->tokens();
  blocks_.push_back(std::move(embedding));
  for (size_t i = 0; i < options.blocks.size(); ++i) {
    const BlockSpec& spec = options.blocks[i];
    blocks_.push_back(
        std::make_unique<TransformerBlock>(spec, i, options.blocks.size(), rotary_table(device, spec)));
  }
  blocks_.push_back(std::make_unique<HeadBlock>(options.head, token_embedding));
}

const RotaryTable* Model::rotary_table(DeviceContext& device, const BlockSpec& spec) {
  if (!spec.rotary) return nullptr;
  for (const NamedTable& known : tables_) {
    if (known.spec == *spec.rotary) return known.table.get();
  }
  tables_.push_back({*spec.rotary, std::make_unique<RotaryTable>(
                                       make_rotary_table(device, *spec.rotary, options_.max_seq))});
  return tables_.back().table.get();
}

std::vector<Parameter*> Model::parameters() const {
  std::vector<Parameter*> all;
  for (const auto& block : blocks_) {
    for (Parameter* parameter : block->parameters()) {
      if (std::find(all.begin(), all.end(), parameter) == all.end()) all.push_back(parameter);
    }
  }
  return all;
}

}  // namespace aleph::nn
