// GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019).
#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/models/binding_list.h"
#include "aleph/models/config_reader.h"
#include "aleph/models/families.h"

namespace aleph::models {

TransformerSpec read_gpt2(const nlohmann::json& config, const std::string& object) {
  const ConfigReader reader(config, object);
  GptValues values;
  values.vocab_size = reader.size("vocab_size", 50257, SizeLimits::kVocabulary);
  values.positions = reader.size("n_positions", "max_position_embeddings", 1024, SizeLimits::kPositions);
  values.hidden = reader.size("n_embd", "hidden_size", 768, SizeLimits::kWidth);
  values.intermediate = reader.size("n_inner", 4 * values.hidden, 4 * SizeLimits::kWidth);
  values.heads = reader.size("n_head", "num_attention_heads", 12, SizeLimits::kHeads);
  values.head_dim = head_dim_of(reader, values.hidden, values.heads);
  values.embedding_dropout = reader.dropout("embd_pdrop", 0.1f);
  const int64_t layers = reader.size("n_layer", "num_hidden_layers", 12, SizeLimits::kLayers);
  if (reader.flag("add_cross_attention", false))
    reader.fail("add_cross_attention", "true", "a decoder without cross attention");

  nn::BlockSpec block;
  block.residual_dropout = reader.dropout("resid_pdrop", 0.1f);
  block.attention_dropout = reader.dropout("attn_pdrop", 0.1f);
  TransformerSpec spec = gpt_spec(reader, values, block, layers);
  const bool scaled = reader.flag("scale_attn_weights", true);
  const bool by_layer = reader.flag("scale_attn_by_inverse_layer_idx", false);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const double by_width = scaled ? 1 / std::sqrt(static_cast<double>(values.head_dim)) : 1.0;
    spec.blocks[i].attention_scale =
        static_cast<float>(by_layer ? by_width / static_cast<double>(i + 1) : by_width);
  }
  return spec;
}

std::vector<TensorBinding> gpt2_bindings(const TransformerSpec& spec) {
  const int64_t hidden = spec.embedding.hidden_size;
  BindingList list;
  list.matrix("transformer.wte.weight", "embedding.tokens.weight", spec.embedding.vocab_size, hidden);
  list.matrix("transformer.wpe.weight", "embedding.positions.weight", spec.embedding.learned_positions,
              hidden);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const int64_t inner = spec.blocks[i].intermediate_size;
    list.prefixes(fmt::format("transformer.h.{}.", i), fmt::format("blocks.{}.", i));
    list.norm("ln_1", "attention_norm", hidden, true);
    list.conv1d("attn.c_attn", "attention.qkv", 3 * hidden, hidden);
    list.conv1d("attn.c_proj", "attention.output", hidden, hidden);
    list.norm("ln_2", "mlp_norm", hidden, true);
    list.conv1d("mlp.c_fc", "mlp.up", inner, hidden);
    list.conv1d("mlp.c_proj", "mlp.down", hidden, inner);
  }
  list.prefixes("", "head.");
  list.norm("transformer.ln_f", "norm", hidden, true);
  if (!spec.head.tied) list.matrix("lm_head.weight", "output.weight", spec.head.vocab_size, hidden);
  return list.take();
}

}  // namespace aleph::models
