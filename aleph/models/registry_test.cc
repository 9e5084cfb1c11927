#include "aleph/models/registry.h"

#include <gtest/gtest.h>

#include <cmath>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/testing.h"
#include "aleph/io/file.h"
#include "aleph/io/json_file.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/models/config_reader.h"

namespace aleph::models {
namespace {

using kernels::Activation;

const std::string kGoldens = std::string(ALEPH_TEST_DATA) + "/goldens/";

TransformerSpec spec_of(const std::string& text) {
  return read_spec(parse_json(text, "config.json"), "config.json");
}

/// The message of the Error that reading throws, or "".
std::string fault_of(const std::string& text) {
  try {
    spec_of(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ConfigFileTest, SaysWhatIsThereInItsPlace) {
  const io::TemporaryDirectory directory(std::filesystem::temp_directory_path());
  const auto fault = [](const std::filesystem::path& path) {
    return aleph::fault_of([&] { config_file(path); });
  };
  EXPECT_EQ(fault(directory / "none"),
            (directory / "none").string() + ": found no directory, expected a Hugging Face model directory");
  EXPECT_EQ(fault(directory.path()),
            directory.path().string() + ": found no config.json, expected a Hugging Face model directory");
  std::filesystem::create_directory(directory / "checkpoint-7");
  EXPECT_EQ(
      fault(directory.path()),
      directory.path().string() +
          ": found training checkpoints only, expected a model: the run saves it when it ends (--resume)");
  io::write_file_atomically(directory / "config.json", "{}");
  EXPECT_EQ(config_file(directory.path()), directory / "config.json");
}

class GoldenConfigTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenConfigTest, BothSpellingsGiveOneSpec) {
  const std::string folder = kGoldens + GetParam();
  const TransformerSpec v4 = read_spec(io::parse_json_file(folder + "/config.json"), "v4");
  const TransformerSpec v5 = read_spec(io::parse_json_file(folder + "/config.v5.json"), "v5");
  EXPECT_EQ(v4, v5);
  EXPECT_FALSE(v4.blocks.empty());
}

INSTANTIATE_TEST_SUITE_P(Goldens, GoldenConfigTest,
                         testing::Values("gpt2", "gpt_neo", "llama", "llama-rope-llama3-tied",
                                         "llama-rope-linear-bias"));

TEST(Gpt2Test, ReadsTheGolden) {
  const TransformerSpec spec = read_spec(io::parse_json_file(kGoldens + "gpt2/config.json"), "config.json");
  EXPECT_EQ(spec.family, "gpt2");
  EXPECT_EQ(spec.blocks.size(), 3u);
  EXPECT_EQ(spec.embedding.learned_positions, 64);
  EXPECT_EQ(spec.embedding.padding_id, -1);
  EXPECT_EQ(spec.max_positions, 64);
  EXPECT_TRUE(spec.head.tied);
  EXPECT_EQ(spec.eos_ids, std::vector<int64_t>{0});
  const nn::BlockSpec& block = spec.blocks[1];
  EXPECT_EQ(block.intermediate_size, 192);
  EXPECT_EQ(block.head_dim, 12);
  EXPECT_EQ(block.activation, Activation::kGeluTanh);
  EXPECT_FLOAT_EQ(block.attention_scale, 1 / std::sqrt(12.0f));
  EXPECT_FALSE(block.rotary.has_value());
  EXPECT_EQ(parameter_count(spec), 100272);
}

TEST(Gpt2Test, AbsentKeysHaveTransformersDefaults) {
  const TransformerSpec spec = spec_of(R"({"model_type": "gpt2"})");
  EXPECT_EQ(parameter_count(spec), 124439808);
  EXPECT_FLOAT_EQ(spec.embedding.dropout, 0.1f);
  EXPECT_FLOAT_EQ(spec.blocks[0].attention_dropout, 0.1f);
  EXPECT_EQ(spec.bos_id, 50256);
  EXPECT_EQ(spec.pad_id, std::nullopt);
}

TEST(Gpt2Test, ScoresScaleByWidthAndLayer) {
  const std::string sizes = R"({"model_type": "gpt2", "n_embd": 32, "n_head": 2, "n_layer": 3, )";
  const TransformerSpec both = spec_of(sizes + R"("scale_attn_by_inverse_layer_idx": true})");
  for (int i = 0; i < 3; ++i)
    EXPECT_FLOAT_EQ(both.blocks[static_cast<size_t>(i)].attention_scale, 0.25f / static_cast<float>(i + 1));
  const TransformerSpec none = spec_of(sizes + R"("scale_attn_weights": false})");
  EXPECT_FLOAT_EQ(none.blocks[2].attention_scale, 1.0f);
}

TEST(Gpt2Test, CommonNamesWorkWhereTheFamilysOwnAreMissing) {
  const TransformerSpec spec = spec_of(
      R"({"model_type": "gpt2", "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1,
          "max_position_embeddings": 9, "n_inner": 7, "vocab_size": 11, "tie_word_embeddings": false})");
  EXPECT_EQ(spec.embedding.hidden_size, 24);
  EXPECT_EQ(spec.max_positions, 9);
  EXPECT_EQ(spec.blocks.at(0).intermediate_size, 7);
  EXPECT_FALSE(spec.head.tied);
}

TEST(GptNeoTest, ReadsTheGolden) {
  const TransformerSpec spec =
      read_spec(io::parse_json_file(kGoldens + "gpt_neo/config.json"), "config.json");
  ASSERT_EQ(spec.blocks.size(), 4u);
  const int64_t unlimited = nn::BlockSpec().attention_window;
  EXPECT_EQ(spec.blocks[0].attention_window, unlimited);
  EXPECT_EQ(spec.blocks[1].attention_window, 8);
  EXPECT_EQ(spec.blocks[3].attention_window, 8);
  EXPECT_FLOAT_EQ(spec.blocks[0].attention_scale, 1);
  EXPECT_FALSE(spec.blocks[0].qkv_bias);
  EXPECT_TRUE(spec.blocks[0].attention_output_bias);
  EXPECT_EQ(parameter_count(spec), 127968);
}

TEST(GptNeoTest, AttentionTypesExpand) {
  const std::string sizes =
      R"({"model_type": "gpt_neo", "hidden_size": 8, "num_heads": 2, "num_layers": 5, )";
  const TransformerSpec spec =
      spec_of(sizes + R"("attention_types": [[["global"], 2], [["local", "global"], 1], [["local"], 1]]})");
  std::vector<bool> local;
  for (const nn::BlockSpec& block : spec.blocks) local.push_back(block.attention_window == 256);
  EXPECT_EQ(local, (std::vector<bool>{false, false, true, false, true}));
  EXPECT_NE(fault_of(sizes + R"("attention_types": [[["global"], 4]]})").find("4 layers"), std::string::npos);
  EXPECT_NE(fault_of(sizes + R"("attention_types": [[["sideways"], 5]]})").find("sideways"),
            std::string::npos);
  for (const char* bad : {"7", "[7]", "[[[\"global\"], -1]]", "[[\"global\", 5]]",
                          "[[[\"global\"], 99999999999]]", "[[[], 99999999999]]"})
    EXPECT_NE(fault_of(sizes + "\"attention_types\": " + bad + "}"), "") << bad;
}

TEST(LlamaTest, ReadsTheGoldens) {
  const TransformerSpec plain = read_spec(io::parse_json_file(kGoldens + "llama/config.json"), "config.json");
  EXPECT_FALSE(plain.head.tied);
  EXPECT_EQ(plain.blocks[0].kv_heads, 2);
  EXPECT_EQ(plain.blocks[0].rotary->scaling, nn::RopeScaling::kDefault);
  EXPECT_EQ(parameter_count(plain), 94032);
  const TransformerSpec llama3 =
      read_spec(io::parse_json_file(kGoldens + "llama-rope-llama3-tied/config.json"), "config.json");
  EXPECT_TRUE(llama3.head.tied);
  EXPECT_EQ(llama3.blocks[0].rotary->scaling, nn::RopeScaling::kLlama3);
  EXPECT_EQ(llama3.blocks[0].rotary->original_max_positions, 16);
  EXPECT_EQ(llama3.blocks[0].rotary->theta, 500000);
  const TransformerSpec linear =
      read_spec(io::parse_json_file(kGoldens + "llama-rope-linear-bias/config.json"), "config.json");
  EXPECT_EQ(linear.blocks[0].rotary->scaling, nn::RopeScaling::kLinear);
  EXPECT_EQ(linear.blocks[0].rotary->factor, 4);
  EXPECT_TRUE(linear.blocks[0].mlp_bias && linear.blocks[0].qkv_bias);
  EXPECT_EQ(parameter_count(linear), 71760);
}

TEST(LlamaTest, RopeScalingMayUseTheOldKey) {
  const TransformerSpec spec =
      spec_of(R"({"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2}})");
  EXPECT_EQ(spec.blocks[0].rotary->scaling, nn::RopeScaling::kLinear);
  EXPECT_EQ(spec.blocks[0].kv_heads, 32);
  EXPECT_EQ(spec.blocks[0].head_dim, 128);
  EXPECT_NE(
      fault_of(R"({"model_type": "llama", "rope_scaling": {"type": "yarn", "factor": 2}})").find("yarn"),
      std::string::npos);
  EXPECT_NE(fault_of(R"({"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "factor": 2}})"),
            "");
}

TEST(LlamaTest, PaddingAndEndTokens) {
  const std::string sizes = R"({"model_type": "llama", "vocab_size": 100, )";
  EXPECT_EQ(spec_of(sizes + R"("pad_token_id": 7})").embedding.padding_id, 7);
  EXPECT_EQ(spec_of(sizes + R"("pad_token_id": -1})").embedding.padding_id, 99);
  EXPECT_EQ(spec_of(sizes + R"("pad_token_id": null})").embedding.padding_id, -1);
  EXPECT_NE(fault_of(sizes + R"("pad_token_id": 100})"), "");
  EXPECT_EQ(spec_of(sizes + R"("eos_token_id": [5, 6]})").eos_ids, (std::vector<int64_t>{5, 6}));
  EXPECT_TRUE(spec_of(sizes + R"("eos_token_id": null})").eos_ids.empty());
  EXPECT_NE(fault_of(sizes + R"("eos_token_id": ["x"]})"), "");
}

TEST(RegistryTest, UnknownFamiliesAreNamed) {
  const std::string fault = fault_of(R"({"model_type": "mamba"})");
  EXPECT_NE(fault.find("mamba"), std::string::npos);
  EXPECT_NE(fault.find("gpt2, gpt_neo, llama"), std::string::npos);
  EXPECT_NE(fault_of("{}").find("gpt2, gpt_neo, llama"), std::string::npos);
  EXPECT_NE(fault_of("[]"), "");
  EXPECT_NE(fault_of(R"({"model_type": 3})"), "");
}

TEST(RegistryTest, ValuesThatCannotBeAreRefused) {
  const char* bad[] = {
      R"("num_attention_heads": 0)",
      R"("num_attention_heads": -4)",
      R"("hidden_size": 33)",
      R"("hidden_size": "x")",
      R"("hidden_size": 1e18)",
      R"("vocab_size": 9223372036854775807)",
      R"("num_hidden_layers": 1000000000)",
      R"("num_key_value_heads": 5)",
      R"("num_key_value_heads": 64)",
      R"("head_dim": 7)",
      R"("rms_norm_eps": 0)",
      R"("rms_norm_eps": "small")",
      R"("attention_dropout": 1.0)",
      R"("attention_dropout": -0.1)",
      R"("hidden_act": "leaky_relu")",
      R"("rope_theta": -1)",
      R"("rope_scaling": 7)",
      R"("tie_word_embeddings": "no")",
      R"("max_position_embeddings": 0)",
      R"("intermediate_size": 18446744073709551615)",
      R"("partial_rotary_factor": 0.5)",
      R"("rope_scaling": {"rope_type": "linear"})",
      R"("rope_scaling": {"rope_type": 3})",
      R"("pad_token_id": 3.5)",
  };
  for (const char* entry : bad) {
    const std::string fault = fault_of(std::string(R"({"model_type": "llama", )") + entry + "}");
    EXPECT_NE(fault, "") << entry;
    EXPECT_EQ(fault.find('\n'), std::string::npos) << entry;
  }
}

TEST(RegistryTest, ActivationNames) {
  EXPECT_EQ(find_activation("gelu"), Activation::kGelu);
  EXPECT_EQ(find_activation("gelu_new"), Activation::kGeluTanh);
  EXPECT_EQ(find_activation("gelu_pytorch_tanh"), Activation::kGeluTanh);
  EXPECT_EQ(find_activation("swish"), Activation::kSilu);
  EXPECT_EQ(find_activation("relu2"), Activation::kReluSquared);
  EXPECT_EQ(find_activation("linear"), Activation::kIdentity);
  EXPECT_EQ(find_activation("GELU"), std::nullopt);
}

}  // namespace
}  // namespace aleph::models
