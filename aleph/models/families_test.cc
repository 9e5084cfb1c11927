// What holds for every family and every configuration: parameters are those of the trained model, weights
// survive files bit for bit, and configurations that cannot be are refused in one line.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/random.h"
#include "aleph/io/json_file.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/models/registry.h"
#include "aleph/models/weights.h"
#include "aleph/nn/transformer.h"

namespace aleph::models {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Draws one after another.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_({.seed = seed}) {}
  int64_t below(int64_t n) {
    return static_cast<int64_t>(random_.below(static_cast<uint64_t>(n), 2 * drawn_++));
  }
  int64_t from(int64_t least, int64_t most) { return least + below(most - least + 1); }
  bool coin() { return below(2) == 0; }
  template <typename T>
  T one_of(std::initializer_list<T> all) {
    return all.begin()[below(static_cast<int64_t>(all.size()))];
  }

 private:
  RandomStream random_;
  uint64_t drawn_ = 0;
};

Json random_gpt2(Dice& dice) {
  const int64_t heads = dice.from(1, 4);
  Json config = {{"model_type", "gpt2"},
                 {"n_head", heads},
                 {"n_embd", heads * dice.from(1, 7)},
                 {"n_layer", dice.from(1, 4)},
                 {"n_positions", dice.from(1, 40)},
                 {"vocab_size", dice.from(1, 60)},
                 {"activation_function", dice.one_of({"gelu", "gelu_new", "relu", "silu"})},
                 {"scale_attn_by_inverse_layer_idx", dice.coin()},
                 {"tie_word_embeddings", dice.coin()}};
  config["n_inner"] = dice.coin() ? Json(nullptr) : Json(dice.from(1, 50));
  return config;
}

Json random_gpt_neo(Dice& dice) {
  const int64_t heads = dice.from(1, 4), layers = dice.from(1, 4);
  Json config = {{"model_type", "gpt_neo"},
                 {"num_heads", heads},
                 {"hidden_size", heads * dice.from(1, 7)},
                 {"num_layers", layers},
                 {"max_position_embeddings", dice.from(1, 40)},
                 {"vocab_size", dice.from(1, 60)},
                 {"window_size", dice.from(1, 9)},
                 {"tie_word_embeddings", dice.coin()}};
  Json kinds = Json::array();
  for (int64_t i = 0; i < layers; ++i) kinds.push_back(dice.one_of({"global", "local"}));
  config["attention_types"] = Json::array({Json::array({kinds, 1})});
  if (dice.coin()) config["intermediate_size"] = dice.from(1, 50);
  return config;
}

Json random_llama(Dice& dice) {
  const int64_t kv_heads = dice.from(1, 3), heads = kv_heads * dice.from(1, 3);
  const int64_t head_dim = 2 * dice.from(1, 4);
  Json config = {{"model_type", "llama"},
                 {"num_attention_heads", heads},
                 {"num_key_value_heads", kv_heads},
                 {"hidden_size", heads * head_dim},
                 {"intermediate_size", dice.from(1, 50)},
                 {"num_hidden_layers", dice.from(1, 4)},
                 {"max_position_embeddings", dice.from(1, 40)},
                 {"vocab_size", dice.from(1, 60)},
                 {"attention_bias", dice.coin()},
                 {"mlp_bias", dice.coin()},
                 {"tie_word_embeddings", dice.coin()},
                 {"rope_theta", dice.from(100, 900000)}};
  if (dice.coin()) {
    config["head_dim"] = 2 * dice.from(1, 5);  // heads need not make up the hidden size
    config["hidden_size"] = dice.from(1, 30);
  }
  if (dice.coin()) config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.5}};
  return config;
}

struct Drawn {
  Json config;
  TransformerSpec spec;
};

/// As it stands in a file.
Json written(const Json& config) { return parse_json(config.dump(), "config.json"); }

Drawn draw(uint64_t seed) {
  Dice dice(seed);
  const Json config = written(seed % 3 == 0   ? random_gpt2(dice)
                              : seed % 3 == 1 ? random_gpt_neo(dice)
                                              : random_llama(dice));
  return {config, read_spec(config, "config.json")};
}

TEST(FamiliesTest, ParametersAreThoseOfTheTrainedModel) {
  DeviceContext device({.kind = DeviceKind::kMeta});
  for (uint64_t seed = 0; seed < 90; ++seed) {
    const Drawn drawn = draw(seed);
    const nn::Model model(device, {.embedding = drawn.spec.embedding,
                                   .blocks = drawn.spec.blocks,
                                   .head = drawn.spec.head,
                                   .max_seq = drawn.spec.max_positions});
    std::vector<NamedShape> trained;
    int64_t count = 0;
    for (const autograd::Parameter* parameter : model.parameters()) {
      trained.push_back({parameter->name, parameter->shape});
      count += parameter->shape.elements();
    }
    ASSERT_EQ(trained, parameter_shapes(drawn.spec)) << drawn.config;
    ASSERT_EQ(count, parameter_count(drawn.spec));
  }
}

TEST(FamiliesTest, BindingsCoverEveryRowOnce) {
  for (uint64_t seed = 0; seed < 90; ++seed) {
    const Drawn drawn = draw(seed);
    std::map<std::string, std::vector<int>> bound;
    for (const NamedShape& parameter : parameter_shapes(drawn.spec))
      bound[parameter.name].resize(static_cast<size_t>(parameter.shape[0]));
    std::set<std::string> names;
    for (const TensorBinding& binding : checkpoint_map(drawn.spec)) {
      ASSERT_TRUE(names.insert(binding.checkpoint_name).second) << binding.checkpoint_name;
      ASSERT_FALSE(is_known_extra(drawn.spec, binding.checkpoint_name)) << binding.checkpoint_name;
      for (int64_t row = binding.row_begin; row < binding.row_begin + binding.rows; ++row)
        ++bound.at(binding.parameter).at(static_cast<size_t>(row));
    }
    for (const auto& [name, rows] : bound)
      ASSERT_EQ(rows, std::vector<int>(rows.size(), 1)) << name << " of " << drawn.config;
  }
}

TEST(FamiliesTest, WeightsSurviveADirectoryBitForBit) {
  for (uint64_t seed = 0; seed < 18; ++seed) {
    const Drawn drawn = draw(seed);
    const io::TemporaryDirectory directory;
    std::map<std::string, std::vector<float>> values;
    for (const NamedShape& parameter : parameter_shapes(drawn.spec)) {
      const RandomStream random({.seed = seed, .stream = stable_hash(parameter.name)});
      std::vector<float>& all = values[parameter.name];
      for (int64_t i = 0; i < parameter.shape.elements(); ++i)
        all.push_back(
            to_float(from_float<BF16>(random.normal(static_cast<uint64_t>(i)))));  // exact in all types
    }
    std::map<std::string, Shape> shapes;
    for (const NamedShape& parameter : parameter_shapes(drawn.spec)) shapes[parameter.name] = parameter.shape;
    const DType dtype = seed % 2 == 0 ? DType::kF32 : DType::kBF16;
    write_model({.directory = directory.path(),
                 .spec = &drawn.spec,
                 .config = &drawn.config,
                 .dtype = dtype,
                 .source = {}},
                [&](const std::string& name) {
                  return view_of(std::span<const float>(values.at(name)), shapes.at(name));
                });
    const WeightSource source = WeightSource::open(directory.path(), drawn.spec);
    EXPECT_TRUE(source.notes().empty());
    EXPECT_EQ(source.stored_dtype(), dtype);
    Dice dice(seed + 1000);
    for (const auto& [name, expected] : values) {
      std::vector<float> found(expected.size());
      source.read(name, view_of(std::span(found), shapes.at(name)));
      ASSERT_EQ(found, expected) << name << " of " << drawn.config;
      const int64_t rows = shapes.at(name)[0], columns = static_cast<int64_t>(expected.size()) / rows;
      const int64_t begin = dice.below(rows), count = dice.from(1, rows - begin);
      std::vector<float> part(static_cast<size_t>(count * columns));
      const Shape shape = shapes.at(name).rank() == 1 ? Shape{count} : Shape{count, columns};
      source.read_rows(name, begin, view_of(std::span(part), shape));
      ASSERT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + begin * columns)) << name;
    }
    const Json saved = io::parse_json_file(directory / "config.json");
    EXPECT_EQ(read_spec(saved, "saved"), drawn.spec) << "the saved configuration is that of the model";
    EXPECT_EQ(saved.at("architectures").at(0), find_family(drawn.spec.family, "x").architecture);
  }
}

TEST(FamiliesTest, ValuesOfEveryTypeInEveryKeyAreTakenOrRefusedInOneLine) {
  const std::vector<Json> strange = {nullptr,
                                     true,
                                     false,
                                     0,
                                     -1,
                                     1,
                                     7,
                                     3.5,
                                     -0.5,
                                     1e300,
                                     "",
                                     "x",
                                     "gelu",
                                     "\x01\n",
                                     Json::array(),
                                     Json::array({1}),
                                     Json::object(),
                                     {{"type", "linear"}},
                                     Json::array({Json::array({Json::array({"global"}), 1})}),
                                     std::numeric_limits<uint64_t>::max(),
                                     std::numeric_limits<int64_t>::min()};
  int taken = 0, refused = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Json config = draw(seed).config;
    for (const char* key :
         {"rope_scaling", "rope_parameters", "eos_token_id", "pad_token_id", "layer_norm_epsilon",
          "rms_norm_eps", "resid_pdrop", "hidden_act", "head_dim", "attention_layers"})
      if (!config.contains(key)) config[key] = nullptr;
    const Json whole = config;
    for (const auto& [key, value] : whole.items()) {
      for (const Json& other : strange) {
        config[key] = other;
        try {
          const TransformerSpec spec = read_spec(written(config), "config.json");
          ++taken;
          ASSERT_GT(parameter_count(spec), 0);
          for (const nn::BlockSpec& block : spec.blocks) {
            ASSERT_EQ(block.heads % block.kv_heads, 0);
            ASSERT_TRUE(std::isfinite(block.attention_scale) && block.norm_epsilon > 0);
            ASSERT_TRUE(block.residual_dropout >= 0 && block.residual_dropout < 1);
          }
        } catch (const Error& error) {
          ++refused;
          const std::string line = error.what();
          ASSERT_EQ(line.rfind("config.json", 0), 0u) << line;
          ASSERT_EQ(line.find('\n'), std::string::npos) << line;
        }
      }
      config[key] = value;
    }
  }
  EXPECT_GT(taken, 1000);
  EXPECT_GT(refused, 1000);
}

TEST(FamiliesTest, AHeadThatIsNotTiedHasWeightsOfItsOwn) {
  for (const char* family : {"gpt2", "gpt_neo", "llama"}) {
    for (const bool tied : {true, false}) {
      const TransformerSpec spec =
          read_spec({{"model_type", family}, {"tie_word_embeddings", tied}}, "config.json");
      const auto shapes = parameter_shapes(spec);
      EXPECT_EQ(shapes.back().name == "head.output.weight", !tied) << family;
      EXPECT_EQ(is_known_extra(spec, "lm_head.weight"), tied);
    }
    const bool usual = std::string(family) != "llama";
    EXPECT_EQ(read_spec({{"model_type", family}}, "config.json").head.tied, usual) << "transformers' default";
  }
}

TEST(FamiliesTest, WeightsOfAnotherModelAreRefusedByName) {
  const Drawn gpt2 = draw(0), llama = draw(2);
  const io::TemporaryDirectory directory;
  std::vector<float> zeros(100'000);
  std::map<std::string, Shape> shapes;
  for (const NamedShape& parameter : parameter_shapes(llama.spec)) shapes[parameter.name] = parameter.shape;
  write_model({.directory = directory.path(), .spec = &llama.spec, .config = &llama.config, .source = {}},
              [&](const std::string& name) {
                const Shape& shape = shapes.at(name);
                return view_of(std::span<const float>(zeros).first(static_cast<size_t>(shape.elements())),
                               shape);
              });
  const auto fault = [&](const TransformerSpec& spec) -> std::string {
    try {
      WeightSource::open(directory.path(), spec);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(fault(gpt2.spec), HasSubstr("wte.weight"));
  TransformerSpec wider = llama.spec;
  wider.blocks[0].intermediate_size += 1;
  EXPECT_THAT(fault(wider),
              AllOf(HasSubstr("layers.0.mlp.gate_proj.weight"), HasSubstr("as config.json says")));
  EXPECT_EQ(fault(llama.spec), "no error");
}

}  // namespace
}  // namespace aleph::models
