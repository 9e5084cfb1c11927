#include "aleph/models/spec_json.h"

#include "aleph/base/json.h"
#include "aleph/models/config_reader.h"

// Structured bindings name every member: a new one does not compile until it stands here, too.
namespace aleph::models {
namespace {

const char* name_of(nn::NormKind norm) { return norm == nn::NormKind::kLayerNorm ? "layer" : "rms"; }

const char* name_of(nn::RopeScaling scaling) {
  switch (scaling) {
    case nn::RopeScaling::kLinear:
      return "linear";
    case nn::RopeScaling::kLlama3:
      return "llama3";
    case nn::RopeScaling::kDefault:
      break;
  }
  return "default";
}

Json json_of(const nn::EmbeddingSpec& spec) {
  const auto& [vocab_size, hidden_size, learned_positions, padding_id, dropout] = spec;
  return {{"vocab_size", vocab_size},
          {"hidden_size", hidden_size},
          {"learned_positions", learned_positions},
          {"padding_id", padding_id},
          {"dropout", dropout}};
}

Json json_of(const nn::RotarySpec& spec) {
  const auto& [rotary_dim, theta, layout, scaling, factor, low_freq, high_freq, original_positions] = spec;
  return {{"rotary_dim", rotary_dim},
          {"theta", theta},
          {"layout", layout == kernels::RotaryLayout::kHalves ? "halves" : "interleaved"},
          {"scaling", name_of(scaling)},
          {"factor", factor},
          {"low_freq_factor", low_freq},
          {"high_freq_factor", high_freq},
          {"original_max_positions", original_positions}};
}

Json json_of(const nn::BlockSpec& spec) {
  const auto& [hidden, intermediate, heads, kv_heads, head_dim, norm, norm_epsilon, activation, gated,
               qkv_bias, output_bias, mlp_bias, attention_scale, window, rotary, residual_dropout,
               attention_dropout] = spec;
  return {{"hidden_size", hidden},
          {"intermediate_size", intermediate},
          {"heads", heads},
          {"kv_heads", kv_heads},
          {"head_dim", head_dim},
          {"norm", name_of(norm)},
          {"norm_epsilon", norm_epsilon},
          {"activation", activation_name(activation)},
          {"gated_mlp", gated},
          {"qkv_bias", qkv_bias},
          {"attention_output_bias", output_bias},
          {"mlp_bias", mlp_bias},
          {"attention_scale", attention_scale},
          {"attention_window", window},
          {"rotary", rotary ? json_of(*rotary) : Json()},
          {"residual_dropout", residual_dropout},
          {"attention_dropout", attention_dropout}};
}

Json json_of(const nn::HeadSpec& spec) {
  const auto& [vocab_size, hidden_size, norm, norm_epsilon, tied, output_bias] = spec;
  return {{"vocab_size", vocab_size},
          {"hidden_size", hidden_size},
          {"norm", name_of(norm)},
          {"norm_epsilon", norm_epsilon},
          {"tied", tied},
          {"output_bias", output_bias}};
}

Json json_of(const std::vector<nn::BlockSpec>& blocks) {
  Json runs = Json::array();
  for (size_t begin = 0, end = 0; begin < blocks.size(); begin = end) {
    while (end < blocks.size() && blocks[end] == blocks[begin]) ++end;
    runs.push_back(json_of(blocks[begin]));
    runs.back()["layers"] = end - begin;
  }
  return runs;
}

}  // namespace

Json spec_json(const TransformerSpec& spec) {
  const auto& [family, embedding, blocks, head, max_positions, eos_ids, bos_id, pad_id] = spec;
  return {{"embedding", json_of(embedding)}, {"blocks", json_of(blocks)}, {"head", json_of(head)}};
}

}  // namespace aleph::models
