#include "aleph/models/checkpoint_map.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "aleph/base/json.h"
#include "aleph/io/json_file.h"
#include "aleph/models/registry.h"

namespace aleph::models {
namespace {

const std::string kGoldens = std::string(ALEPH_TEST_DATA) + "/goldens/";

TransformerSpec golden_spec(const std::string& name) {
  const std::string path = kGoldens + name + "/config.json";
  return read_spec(io::parse_json_file(path), path);
}

/// Names and shapes in the header of a safetensors file, read by hand: the first eight bytes are its length.
std::map<std::string, Shape> tensors_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  uint64_t length = 0;
  in.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string text(length, '\0');
  in.read(text.data(), static_cast<std::streamsize>(length));
  std::map<std::string, Shape> tensors;
  const Json header = parse_json(text, path);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    tensors[name] = Shape(entry.at("shape").get<std::vector<int64_t>>());
  }
  return tensors;
}

class GoldenMapTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenMapTest, BindsEveryTensorOfTheCheckpointOnce) {
  std::map<std::string, Shape> unbound = tensors_of(kGoldens + GetParam() + "/model.safetensors");
  ASSERT_FALSE(unbound.empty());
  for (const TensorBinding& binding : checkpoint_map(golden_spec(GetParam()))) {
    const auto tensor = unbound.find(binding.checkpoint_name);
    ASSERT_NE(tensor, unbound.end()) << binding.checkpoint_name << " bound twice or not there";
    EXPECT_EQ(tensor->second, binding.checkpoint_shape) << binding.checkpoint_name;
    unbound.erase(tensor);
  }
  EXPECT_TRUE(unbound.empty()) << unbound.begin()->first << " is not bound";
}

TEST_P(GoldenMapTest, CoversEveryRowOfEveryParameterOnce) {
  const TransformerSpec spec = golden_spec(GetParam());
  std::map<std::string, int64_t> covered;  // rows so far; bindings of a parameter come in order
  std::map<std::string, Shape> shapes;
  for (const NamedShape& parameter : parameter_shapes(spec)) shapes[parameter.name] = parameter.shape;
  for (const TensorBinding& binding : checkpoint_map(spec)) {
    ASSERT_TRUE(shapes.contains(binding.parameter)) << binding.parameter;
    const Shape& shape = shapes[binding.parameter];
    EXPECT_EQ(binding.row_begin, covered[binding.parameter]) << binding.checkpoint_name;
    covered[binding.parameter] += binding.rows;
    const Shape expected = shape.rank() == 1    ? Shape{binding.rows}
                           : binding.transposed ? Shape{shape[1], binding.rows}
                                                : Shape{binding.rows, shape[1]};
    EXPECT_EQ(binding.checkpoint_shape, expected) << binding.checkpoint_name;
  }
  for (const auto& [name, shape] : shapes) EXPECT_EQ(covered[name], shape[0]) << name;
}

INSTANTIATE_TEST_SUITE_P(Goldens, GoldenMapTest,
                         testing::Values("gpt2", "gpt_neo", "llama", "llama-rope-llama3-tied",
                                         "llama-rope-linear-bias", "stories260K-hf"));

TEST(CheckpointMapTest, UntiedHeadsHaveAProjection) {
  for (const char* family : {"gpt2", "gpt_neo", "llama"}) {
    const Json config = {{"model_type", family}, {"tie_word_embeddings", false}};
    const std::vector<TensorBinding> bindings = checkpoint_map(read_spec(config, "config.json"));
    EXPECT_EQ(bindings.back().checkpoint_name, "lm_head.weight") << family;
    EXPECT_EQ(bindings.back().parameter, "head.output.weight") << family;
  }
}

TEST(CheckpointMapTest, PrefixesAndKnownExtras) {
  const TransformerSpec gpt2 = golden_spec("gpt2"), llama = golden_spec("llama");
  EXPECT_EQ(without_prefix(gpt2, "transformer.wte.weight"), "wte.weight");
  EXPECT_EQ(without_prefix(llama, "model.norm.weight"), "norm.weight");
  EXPECT_EQ(without_prefix(llama, "lm_head.weight"), "lm_head.weight");
  for (const char* name : {"h.0.attn.bias", "transformer.h.11.attn.masked_bias", "lm_head.weight",
                           "transformer.h.0.attn.attention.bias"})
    EXPECT_TRUE(is_known_extra(gpt2, name)) << name;
  EXPECT_TRUE(is_known_extra(llama, "model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_FALSE(is_known_extra(llama, "lm_head.weight"));
  EXPECT_FALSE(is_known_extra(gpt2, "transformer.h.0.attn.c_attn.bias"));
}

}  // namespace
}  // namespace aleph::models
