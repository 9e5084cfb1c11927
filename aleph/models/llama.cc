// Llama (Touvron et al., 2023): RMS norm, rotary positions, gated MLP, grouped-query attention.
#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/models/binding_list.h"
#include "aleph/models/config_reader.h"
#include "aleph/models/families.h"

namespace aleph::models {
namespace {

/// The object that says how frequencies are stretched: `rope_parameters` (transformers 5), `rope_scaling`
/// (4), or nothing.
nlohmann::json rope_object(const ConfigReader& reader) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!reader.has(key)) continue;
    const nlohmann::json& rope = reader.json().at(key);
    if (!rope.is_object()) reader.fail(key, json_shown(rope), "an object or null");
    return rope;
  }
  return nlohmann::json::object();
}

nn::RopeScaling rope_kind(const ConfigReader& rope) {
  const char* key = rope.has("rope_type") ? "rope_type" : "type";
  const auto name = json_get_or<std::string>(rope.json(), key, "default", rope.object());
  if (name == "default") return nn::RopeScaling::kDefault;
  if (name == "linear") return nn::RopeScaling::kLinear;
  if (name == "llama3") return nn::RopeScaling::kLlama3;
  rope.fail(key, "'" + printable(name) + "'", "one of default, linear, llama3");
}

double required(const ConfigReader& rope, const char* key) {
  if (!rope.has(key)) rope.fail(key, "nothing", "a number above 0 for this rope_type");
  return rope.positive(key, 0);
}

void read_llama3(const ConfigReader& reader, const ConfigReader& rope, nn::RotarySpec& rotary) {
  rotary.low_freq_factor = required(rope, "low_freq_factor");
  rotary.high_freq_factor = required(rope, "high_freq_factor");
  if (rotary.high_freq_factor <= rotary.low_freq_factor)
    rope.fail("high_freq_factor", fmt::format("{}", rotary.high_freq_factor),
              fmt::format("more than low_freq_factor = {}", rotary.low_freq_factor));
  const char* key = "original_max_position_embeddings";
  const ConfigReader& holder = rope.has(key) ? rope : reader;
  if (!holder.has(key)) rope.fail(key, "nothing", "the context length before stretching");
  rotary.original_max_positions = holder.size(key, 1, SizeLimits::kPositions);
}

nn::RotarySpec read_rotary(const ConfigReader& reader, int64_t head_dim) {
  const nlohmann::json object = rope_object(reader);
  const std::string name = reader.object() + ": rope";
  const ConfigReader rope(object, name);
  if (head_dim % 2 != 0) reader.fail("head_dim", fmt::format("{}", head_dim), "an even number");
  for (const ConfigReader* holder : {&reader, &rope})
    if (holder->positive("partial_rotary_factor", 1) != 1)
      holder->fail("partial_rotary_factor", "a part of the head", "1 for this family");
  nn::RotarySpec rotary;
  rotary.rotary_dim = head_dim;
  rotary.theta =
      rope.has("rope_theta") ? rope.positive("rope_theta", 1) : reader.positive("rope_theta", 10000);
  rotary.scaling = rope_kind(rope);
  if (rotary.scaling != nn::RopeScaling::kDefault) rotary.factor = required(rope, "factor");
  if (rotary.scaling == nn::RopeScaling::kLlama3) read_llama3(reader, rope, rotary);
  return rotary;
}

/// torch counts a negative padding index from the end.
int64_t padding_index(const ConfigReader& reader, std::optional<int64_t> pad_id, int64_t vocab_size) {
  if (!pad_id) return -1;
  const int64_t index = *pad_id < 0 ? *pad_id + vocab_size : *pad_id;
  if (index < 0 || index >= vocab_size)
    reader.fail("pad_token_id", fmt::format("{}", *pad_id),
                fmt::format("an id inside the vocabulary of {}", vocab_size));
  return index;
}

nn::BlockSpec read_block(const ConfigReader& reader) {
  nn::BlockSpec block;
  block.hidden_size = reader.size("hidden_size", 4096, SizeLimits::kWidth);
  block.intermediate_size = reader.size("intermediate_size", 11008, SizeLimits::kWidth);
  block.heads = reader.size("num_attention_heads", 32, SizeLimits::kHeads);
  block.kv_heads = reader.size("num_key_value_heads", block.heads, SizeLimits::kHeads);
  if (block.heads % block.kv_heads != 0)
    reader.fail("num_key_value_heads", fmt::format("{}", block.kv_heads),
                fmt::format("a divisor of num_attention_heads = {}", block.heads));
  block.head_dim = reader.has("head_dim") ? reader.size("head_dim", 1, SizeLimits::kHeads)
                                          : head_dim_of(reader, block.hidden_size, block.heads);
  if (block.heads * block.head_dim > SizeLimits::kWidth)
    reader.fail("head_dim", fmt::format("{} for {} heads", block.head_dim, block.heads),
                fmt::format("at most {} elements in all heads", SizeLimits::kWidth));
  block.norm = nn::NormKind::kRmsNorm;
  block.norm_epsilon = static_cast<float>(reader.positive("rms_norm_eps", 1e-6));
  block.activation = reader.activation("hidden_act", "silu");
  block.gated_mlp = true;
  block.qkv_bias = block.attention_output_bias = reader.flag("attention_bias", false);
  block.mlp_bias = reader.flag("mlp_bias", false);
  block.attention_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(block.head_dim)));
  block.attention_dropout = reader.dropout("attention_dropout", 0);
  block.rotary = read_rotary(reader, block.head_dim);
  return block;
}

}  // namespace

TransformerSpec read_llama(const nlohmann::json& config, const std::string& object) {
  const ConfigReader reader(config, object);
  const nn::BlockSpec block = read_block(reader);
  const int64_t vocab_size = reader.size("vocab_size", 32000, SizeLimits::kVocabulary);
  TransformerSpec spec;
  spec.eos_ids = reader.token_ids("eos_token_id", {2});
  spec.bos_id = reader.token_id("bos_token_id", 1);
  spec.pad_id = reader.token_id("pad_token_id", std::nullopt);
  spec.embedding = {.vocab_size = vocab_size,
                    .hidden_size = block.hidden_size,
                    .padding_id = padding_index(reader, spec.pad_id, vocab_size)};
  spec.blocks.assign(static_cast<size_t>(reader.size("num_hidden_layers", 32, SizeLimits::kLayers)), block);
  spec.head = {.vocab_size = vocab_size,
               .hidden_size = block.hidden_size,
               .norm = block.norm,
               .norm_epsilon = block.norm_epsilon,
               .tied = reader.flag("tie_word_embeddings", false)};
  spec.max_positions = reader.size("max_position_embeddings", 2048, SizeLimits::kPositions);
  return spec;
}

std::vector<TensorBinding> llama_bindings(const TransformerSpec& spec) {
  const int64_t hidden = spec.embedding.hidden_size;
  BindingList list;
  list.matrix("model.embed_tokens.weight", "embedding.tokens.weight", spec.embedding.vocab_size, hidden);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const nn::BlockSpec& block = spec.blocks[i];
    const int64_t q = block.heads * block.head_dim, kv = block.kv_heads * block.head_dim;
    const int64_t inner = block.intermediate_size;
    list.prefixes(fmt::format("model.layers.{}.", i), fmt::format("blocks.{}.", i));
    list.norm("input_layernorm", "attention_norm", hidden, false);
    list.linear_rows("self_attn.q_proj", "attention.qkv", 0, Shape{q, hidden}, block.qkv_bias);
    list.linear_rows("self_attn.k_proj", "attention.qkv", q, Shape{kv, hidden}, block.qkv_bias);
    list.linear_rows("self_attn.v_proj", "attention.qkv", q + kv, Shape{kv, hidden}, block.qkv_bias);
    list.linear("self_attn.o_proj", "attention.output", Shape{hidden, q}, block.attention_output_bias);
    list.norm("post_attention_layernorm", "mlp_norm", hidden, false);
    list.linear_rows("mlp.gate_proj", "mlp.up", 0, Shape{inner, hidden}, block.mlp_bias);
    list.linear_rows("mlp.up_proj", "mlp.up", inner, Shape{inner, hidden}, block.mlp_bias);
    list.linear("mlp.down_proj", "mlp.down", Shape{hidden, inner}, block.mlp_bias);
  }
  list.prefixes("", "head.");
  list.norm("model.norm", "norm", hidden, false);
  if (!spec.head.tied) list.matrix("lm_head.weight", "output.weight", spec.head.vocab_size, hidden);
  return list.take();
}

}  // namespace aleph::models
