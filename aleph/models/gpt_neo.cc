// GPT-Neo (Black et al., 2021): GPT-2 with unscaled scores and every other layer seeing a window only.
#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/models/binding_list.h"
#include "aleph/models/config_reader.h"
#include "aleph/models/families.h"

namespace aleph::models {
namespace {

enum class LayerKind : uint8_t { kGlobal, kLocal };

void add_layer_kinds(const ConfigReader& reader, const char* key, const nlohmann::json& names,
                     int64_t repeats, std::vector<LayerKind>& kinds) {
  if (!names.is_array()) reader.fail(key, json_shown(names), "a list of \"global\" and \"local\"");
  for (int64_t r = 0; r < repeats; ++r) {
    for (const nlohmann::json& name : names) {
      if (name != "global" && name != "local") reader.fail(key, json_shown(name), "\"global\" or \"local\"");
      kinds.push_back(name == "local" ? LayerKind::kLocal : LayerKind::kGlobal);
      if (kinds.size() > static_cast<size_t>(SizeLimits::kLayers))
        reader.fail(key, "more layers than any model has", fmt::format("at most {}", SizeLimits::kLayers));
    }
    if (names.empty()) return;
  }
}

/// [[["global", "local"], 12], ...]: each list of kinds as often as the number says.
std::vector<LayerKind> expand_attention_types(const ConfigReader& reader, const nlohmann::json& types) {
  std::vector<LayerKind> kinds;
  const char* form = "a list of [[kinds of layers], repeats]";
  if (!types.is_array()) reader.fail("attention_types", json_shown(types), form);
  for (const nlohmann::json& item : types) {
    if (!item.is_array() || item.size() != 2 || !item[1].is_number_unsigned())
      reader.fail("attention_types", json_shown(item), form);
    add_layer_kinds(reader, "attention_types", item[0], item[1].get<int64_t>(), kinds);
  }
  return kinds;
}

std::vector<LayerKind> read_layer_kinds(const ConfigReader& reader, int64_t layers) {
  std::vector<LayerKind> kinds;
  const char* key = reader.has("attention_layers") ? "attention_layers" : "attention_types";
  if (reader.has("attention_layers")) {
    add_layer_kinds(reader, key, reader.json().at(key), 1, kinds);
  } else if (reader.has("attention_types")) {
    kinds = expand_attention_types(reader, reader.json().at(key));
  } else {
    kinds = expand_attention_types(reader, nlohmann::json::parse(R"([[["global", "local"], 12]])"));
  }
  if (kinds.size() != static_cast<size_t>(layers))
    reader.fail(key, fmt::format("{} layers", kinds.size()), fmt::format("num_layers = {}", layers));
  return kinds;
}

}  // namespace

TransformerSpec read_gpt_neo(const nlohmann::json& config, const std::string& object) {
  const ConfigReader reader(config, object);
  GptValues values;
  values.vocab_size = reader.size("vocab_size", 50257, SizeLimits::kVocabulary);
  values.positions = reader.size("max_position_embeddings", 2048, SizeLimits::kPositions);
  values.hidden = reader.size("hidden_size", 2048, SizeLimits::kWidth);
  values.intermediate = reader.size("intermediate_size", 4 * values.hidden, 4 * SizeLimits::kWidth);
  values.heads = reader.size("num_heads", "num_attention_heads", 16, SizeLimits::kHeads);
  values.head_dim = head_dim_of(reader, values.hidden, values.heads);
  values.embedding_dropout = reader.dropout("embed_dropout", 0);
  const int64_t layers = reader.size("num_layers", "num_hidden_layers", 24, SizeLimits::kLayers);
  const int64_t window = reader.size("window_size", 256, SizeLimits::kPositions);
  const std::vector<LayerKind> kinds = read_layer_kinds(reader, layers);

  nn::BlockSpec block;
  block.qkv_bias = false;
  block.attention_scale = 1;
  block.residual_dropout = reader.dropout("resid_dropout", 0);
  block.attention_dropout = reader.dropout("attention_dropout", 0);
  TransformerSpec spec = gpt_spec(reader, values, block, layers);
  for (size_t i = 0; i < kinds.size(); ++i)
    if (kinds[i] == LayerKind::kLocal) spec.blocks[i].attention_window = window;
  return spec;
}

std::vector<TensorBinding> gpt_neo_bindings(const TransformerSpec& spec) {
  const int64_t hidden = spec.embedding.hidden_size;
  BindingList list;
  list.matrix("transformer.wte.weight", "embedding.tokens.weight", spec.embedding.vocab_size, hidden);
  list.matrix("transformer.wpe.weight", "embedding.positions.weight", spec.embedding.learned_positions,
              hidden);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const int64_t inner = spec.blocks[i].intermediate_size;
    list.prefixes(fmt::format("transformer.h.{}.", i), fmt::format("blocks.{}.", i));
    list.norm("ln_1", "attention_norm", hidden, true);
    list.linear_rows("attn.attention.q_proj", "attention.qkv", 0, Shape{hidden, hidden}, false);
    list.linear_rows("attn.attention.k_proj", "attention.qkv", hidden, Shape{hidden, hidden}, false);
    list.linear_rows("attn.attention.v_proj", "attention.qkv", 2 * hidden, Shape{hidden, hidden}, false);
    list.linear("attn.attention.out_proj", "attention.output", Shape{hidden, hidden}, true);
    list.norm("ln_2", "mlp_norm", hidden, true);
    list.linear("mlp.c_fc", "mlp.up", Shape{inner, hidden}, true);
    list.linear("mlp.c_proj", "mlp.down", Shape{hidden, inner}, true);
  }
  list.prefixes("", "head.");
  list.norm("transformer.ln_f", "norm", hidden, true);
  if (!spec.head.tied) list.matrix("lm_head.weight", "output.weight", spec.head.vocab_size, hidden);
  return list.take();
}

}  // namespace aleph::models
