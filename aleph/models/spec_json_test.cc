#include "aleph/models/spec_json.h"

#include <gtest/gtest.h>

#include <functional>

#include "aleph/io/json_file.h"
#include "aleph/models/registry.h"

namespace aleph::models {
namespace {

TransformerSpec llama_spec() {
  const std::string path = ALEPH_TEST_DATA "/goldens/llama-rope-llama3-tied/config.json";
  return read_spec(io::parse_json_file(path), path);
}

TEST(SpecJson, IsTheSameForTheSameNumbers) {
  TransformerSpec named = llama_spec();
  named.family = "gpt2";
  named.max_positions += 1;
  named.eos_ids = {7};
  named.bos_id = named.pad_id = 3;
  EXPECT_EQ(spec_json(named), spec_json(llama_spec()));
  EXPECT_EQ(Json::parse(spec_json(named).dump()), spec_json(named)) << "comes back from a file";
}

TEST(SpecJson, EveryValueThatDecidesIsInIt) {
  const std::vector<std::function<void(TransformerSpec&)>> changes = {
      [](auto& s) { ++s.embedding.vocab_size; },
      [](auto& s) { ++s.embedding.hidden_size; },
      [](auto& s) { ++s.embedding.learned_positions; },
      [](auto& s) { ++s.embedding.padding_id; },
      [](auto& s) { s.embedding.dropout += 0.1f; },
      [](auto& s) { ++s.blocks[0].hidden_size; },
      [](auto& s) { ++s.blocks[0].intermediate_size; },
      [](auto& s) { ++s.blocks[0].heads; },
      [](auto& s) { ++s.blocks[0].kv_heads; },
      [](auto& s) { ++s.blocks[0].head_dim; },
      [](auto& s) { s.blocks[0].norm = nn::NormKind::kLayerNorm; },
      [](auto& s) { s.blocks[0].norm_epsilon *= 1 + 1e-6f; },
      [](auto& s) { s.blocks[0].activation = kernels::Activation::kIdentity; },
      [](auto& s) { s.blocks[0].gated_mlp = !s.blocks[0].gated_mlp; },
      [](auto& s) { s.blocks[0].qkv_bias = !s.blocks[0].qkv_bias; },
      [](auto& s) { s.blocks[0].attention_output_bias = !s.blocks[0].attention_output_bias; },
      [](auto& s) { s.blocks[0].mlp_bias = !s.blocks[0].mlp_bias; },
      [](auto& s) { s.blocks[0].attention_scale *= 1 + 1e-6f; },
      [](auto& s) { s.blocks[0].attention_window = 8; },
      [](auto& s) { s.blocks[0].rotary.reset(); },
      [](auto& s) { s.blocks[0].rotary->rotary_dim += 2; },
      [](auto& s) { s.blocks[0].rotary->theta *= 1 + 1e-14; },
      [](auto& s) { s.blocks[0].rotary->layout = kernels::RotaryLayout::kInterleaved; },
      [](auto& s) { s.blocks[0].rotary->scaling = nn::RopeScaling::kLinear; },
      [](auto& s) { s.blocks[0].rotary->scaling = nn::RopeScaling::kDefault; },
      [](auto& s) { s.blocks[0].rotary->factor += 1; },
      [](auto& s) { s.blocks[0].rotary->low_freq_factor += 1; },
      [](auto& s) { s.blocks[0].rotary->high_freq_factor += 1; },
      [](auto& s) { s.blocks[0].rotary->original_max_positions += 1; },
      [](auto& s) { s.blocks[0].residual_dropout = 0.1f; },
      [](auto& s) { s.blocks[0].attention_dropout = 0.1f; },
      [](auto& s) { s.blocks.pop_back(); },
      [](auto& s) { s.blocks.push_back(s.blocks[0]); },
      [](auto& s) { ++s.head.vocab_size; },
      [](auto& s) { ++s.head.hidden_size; },
      [](auto& s) { s.head.norm = nn::NormKind::kLayerNorm; },
      [](auto& s) { s.head.norm_epsilon *= 1 + 1e-6f; },
      [](auto& s) { s.head.tied = !s.head.tied; },
      [](auto& s) { s.head.output_bias = !s.head.output_bias; }};
  const Json same = spec_json(llama_spec());
  for (size_t i = 0; i < changes.size(); ++i) {
    TransformerSpec changed = llama_spec();
    changes[i](changed);
    EXPECT_NE(spec_json(changed), same) << "change " << i;
  }
}

TEST(SpecJson, EqualBlocksStandThereOnce) {
  TransformerSpec spec = llama_spec();
  spec.blocks.resize(1);
  for (const int64_t window : {4, 4, 8, 4}) {
    spec.blocks.push_back(spec.blocks[0]);
    spec.blocks.back().attention_window = window;
  }
  const Json blocks = spec_json(spec).at("blocks");
  ASSERT_EQ(blocks.size(), 4u);
  const int64_t layers[] = {1, 2, 1, 1};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(blocks[i].at("layers"), layers[i]);
  EXPECT_EQ(blocks[1].at("attention_window"), 4);
}

}  // namespace
}  // namespace aleph::models
