#include "aleph/models/weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/io/json_file.h"
#include "aleph/models/convert_rows.h"
#include "aleph/models/registry.h"

namespace aleph::models {
namespace {

namespace fs = std::filesystem;
const fs::path kGoldens = fs::path(ALEPH_TEST_DATA) / "goldens";

/// A directory of its own for each test, removed afterwards.
class WeightsTest : public testing::Test {
 protected:
  WeightsTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string(info->test_suite_name()) + "-" + info->name();
    std::replace(name.begin(), name.end(), '/', '-');
    directory_ = fs::path(testing::TempDir()) / fmt::format("aleph-{}-{}", name, ::getpid());
    fs::create_directories(directory_);
  }
  ~WeightsTest() override { fs::remove_all(directory_); }
  fs::path directory_;
};

Json config_of(const std::string& golden) { return io::parse_json_file(kGoldens / golden / "config.json"); }
TransformerSpec spec_of(const std::string& golden) { return read_spec(config_of(golden), golden); }

std::vector<float> read_all(const WeightSource& source, const NamedShape& parameter) {
  std::vector<float> values(static_cast<size_t>(parameter.shape.elements()));
  source.read(parameter.name, view_of(std::span(values), parameter.shape));
  return values;
}

/// Writes the tensors as a model directory's weights.
void write_tensors(const fs::path& directory, const std::map<std::string, std::pair<Shape, DType>>& tensors) {
  std::vector<checkpoint::TensorEntry> entries;
  for (const auto& [name, tensor] : tensors) entries.push_back({name, tensor.second, tensor.first});
  checkpoint::ModelWriter writer(directory, entries);
  for (const checkpoint::TensorEntry& entry : entries)
    writer.write(entry.name, 0, std::vector<std::byte>(static_cast<size_t>(entry.bytes())));
  writer.finish();
}

std::map<std::string, std::pair<Shape, DType>> tensors_of(const TransformerSpec& spec) {
  std::map<std::string, std::pair<Shape, DType>> tensors;
  for (const TensorBinding& binding : checkpoint_map(spec))
    tensors[binding.checkpoint_name] = {binding.checkpoint_shape, DType::kF32};
  return tensors;
}

std::string fault_of(const fs::path& directory, const TransformerSpec& spec) {
  try {
    WeightSource::open(directory, spec);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(WeightsTest, TransposesGpt2AndStacksLlama) {
  const WeightSource gpt2 = WeightSource::open(kGoldens / "gpt2", spec_of("gpt2"));
  const auto files = checkpoint::ModelFiles::open(kGoldens / "gpt2");
  const float* conv = files.tensor("transformer.h.1.mlp.c_fc.weight").data<float>();  // [48, 192]
  const std::vector<float> up = read_all(gpt2, {"blocks.1.mlp.up.weight", Shape{192, 48}});
  for (int64_t out = 0; out < 192; ++out)
    for (int64_t in = 0; in < 48; ++in)
      ASSERT_EQ(up[static_cast<size_t>(out * 48 + in)], conv[in * 192 + out]) << out << " " << in;

  const WeightSource llama = WeightSource::open(kGoldens / "llama", spec_of("llama"));
  const auto llama_files = checkpoint::ModelFiles::open(kGoldens / "llama");
  const std::vector<float> qkv = read_all(llama, {"blocks.0.attention.qkv.weight", Shape{96, 48}});
  const auto same = [&](const char* name, size_t row) {
    const ConstTensorView part = llama_files.tensor(std::string("model.layers.0.self_attn.") + name);
    return std::memcmp(part.raw(), &qkv[row * 48], static_cast<size_t>(part.bytes())) == 0;
  };
  EXPECT_TRUE(same("q_proj.weight", 0) && same("k_proj.weight", 48) && same("v_proj.weight", 72));
}

TEST_F(WeightsTest, ReadsRowsAcrossTensors) {
  const WeightSource source = WeightSource::open(kGoldens / "llama", spec_of("llama"));
  const std::vector<float> all = read_all(source, {"blocks.2.attention.qkv.weight", Shape{96, 48}});
  std::vector<float> part(40 * 48);
  source.read_rows("blocks.2.attention.qkv.weight", 37, view_of(std::span(part), Shape{40, 48}));
  EXPECT_EQ(std::memcmp(part.data(), &all[37 * 48], part.size() * sizeof(float)), 0);
}

TEST_F(WeightsTest, ConvertsBetweenAllTypes) {
  const RandomStream random({.seed = 11});
  const int64_t rows = 37, columns = 61;
  std::vector<float> values(static_cast<size_t>(rows * columns)), back(values.size()), turned(values.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  const TensorView plain = view_of(std::span(values), Shape{rows, columns});
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<std::byte> memory(values.size() * 4);
    const TensorView stored(memory.data(), Shape{rows, columns}, dtype);
    convert_elements(plain, stored);
    convert_elements(stored, view_of(std::span(back), Shape{rows, columns}));
    convert_transposed(stored, 5, view_of(std::span(turned), Shape{columns, rows}).slice(0, columns - 5));
    const float bar = dtype == DType::kF32 ? 0 : dtype == DType::kF16 ? 0x1p-11f : 0x1p-8f;
    for (int64_t i = 0; i < rows * columns; ++i) {
      const auto at = static_cast<size_t>(i);
      ASSERT_NEAR(back[at], values[at], bar * std::abs(values[at]) + 1e-7f * (bar > 0));
      const int64_t row = i / columns, column = i % columns;
      if (column < 5) continue;
      ASSERT_EQ(turned[static_cast<size_t>((column - 5) * rows + row)], back[at]);
    }
  }
}

TEST_F(WeightsTest, NamesWithoutPrefixAndKnownExtrasAreFine) {
  const TransformerSpec spec = spec_of("gpt2");
  std::map<std::string, std::pair<Shape, DType>> tensors;
  for (const auto& [name, tensor] : tensors_of(spec)) tensors[without_prefix(spec, name)] = tensor;
  tensors["h.0.attn.bias"] = {Shape{1, 1, 64, 64}, DType::kU8};
  tensors["lm_head.weight"] = {Shape{256, 48}, DType::kF32};
  write_tensors(directory_, tensors);
  const WeightSource source = WeightSource::open(directory_, spec);
  EXPECT_TRUE(source.notes().empty());
  EXPECT_EQ(read_all(source, {"head.norm.bias", Shape{48}}), std::vector<float>(48));
}

TEST_F(WeightsTest, UnknownTensorsAreNoted) {
  const TransformerSpec spec = spec_of("llama");
  auto tensors = tensors_of(spec);
  tensors["score.weight"] = {Shape{2, 48}, DType::kF32};
  write_tensors(directory_, tensors);
  const WeightSource source = WeightSource::open(directory_, spec);
  ASSERT_EQ(source.notes().size(), 1u);
  EXPECT_NE(source.notes()[0].find("score.weight"), std::string::npos);
}

TEST_F(WeightsTest, MissingTensorsAndWrongShapesAreNamed) {
  const TransformerSpec spec = spec_of("llama");
  auto tensors = tensors_of(spec);
  tensors.erase("model.layers.1.mlp.up_proj.weight");
  write_tensors(directory_, tensors);
  EXPECT_NE(fault_of(directory_, spec).find("model.layers.1.mlp.up_proj.weight"), std::string::npos);

  tensors = tensors_of(spec);
  tensors["model.norm.weight"].first = Shape{47};
  write_tensors(directory_, tensors);
  const std::string shape_fault = fault_of(directory_, spec);
  EXPECT_NE(shape_fault.find("'model.norm.weight'"), std::string::npos) << shape_fault;
  EXPECT_NE(shape_fault.find("[47]"), std::string::npos) << shape_fault;
  EXPECT_NE(shape_fault.find("[48]"), std::string::npos) << shape_fault;

  tensors["model.norm.weight"] = {Shape{48}, DType::kI32};
  write_tensors(directory_, tensors);
  EXPECT_NE(fault_of(directory_, spec).find("I32"), std::string::npos);
}

class RoundTripTest : public WeightsTest, public testing::WithParamInterface<const char*> {};

TEST_P(RoundTripTest, WhatIsWrittenReadsBackTheSame) {
  const TransformerSpec spec = spec_of(GetParam());
  const WeightSource source = WeightSource::open(kGoldens / GetParam(), spec);
  std::map<std::string, Shape> shapes;
  for (const NamedShape& parameter : parameter_shapes(spec)) shapes[parameter.name] = parameter.shape;
  const Json config = config_of(GetParam());
  std::vector<float> values;
  write_model({.directory = directory_, .spec = &spec, .config = &config, .source = kGoldens / GetParam()},
              [&](const std::string& name) -> ConstTensorView {
                values = read_all(source, {name, shapes.at(name)});
                return view_of(std::span(values), shapes.at(name));
              });
  const auto before = checkpoint::ModelFiles::open(kGoldens / GetParam());
  const auto after = checkpoint::ModelFiles::open(directory_);
  ASSERT_EQ(before.names().size(), after.names().size());
  for (const std::string& name : before.names()) {
    ASSERT_EQ(before.info(name).shape, after.info(name).shape) << name;
    EXPECT_EQ(std::memcmp(before.tensor(name).raw(), after.tensor(name).raw(),
                          static_cast<size_t>(before.info(name).bytes)),
              0)
        << name;
  }
  EXPECT_EQ(io::parse_json_file(directory_ / "config.json"), config);
  EXPECT_EQ(io::parse_json_file(directory_ / "generation_config.json"),
            io::parse_json_file(kGoldens / GetParam() / "generation_config.json"));
}

INSTANTIATE_TEST_SUITE_P(Goldens, RoundTripTest,
                         testing::Values("gpt2", "gpt_neo", "llama", "llama-rope-llama3-tied",
                                         "llama-rope-linear-bias", "stories260K-hf"));

TEST_F(WeightsTest, SavedConfigSaysWhatWasSaved) {
  const Json fresh = {{"model_type", "llama"}, {"eos_token_id", {3, 4}}, {"_name_or_path", "x"}};
  const TransformerSpec spec = read_spec(fresh, "config.json");
  const Json saved = saved_config(fresh, spec, DType::kBF16);
  EXPECT_EQ(saved["dtype"], "bfloat16");
  EXPECT_EQ(saved["architectures"], Json({"LlamaForCausalLM"}));
  EXPECT_FALSE(saved.contains("_name_or_path"));
  const Json old = {{"model_type", "gpt2"}, {"torch_dtype", "float16"}, {"architectures", {"GPT2Model"}}};
  const Json saved_old = saved_config(old, read_spec(old, "config.json"), DType::kF32);
  EXPECT_EQ(saved_old["torch_dtype"], "float32");
  EXPECT_FALSE(saved_old.contains("dtype"));
  EXPECT_EQ(saved_old["architectures"], Json({"GPT2Model"}));
}

}  // namespace
}  // namespace aleph::models
