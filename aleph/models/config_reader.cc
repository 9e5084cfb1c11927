#include "aleph/models/config_reader.h"

#include <array>
#include <cmath>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"

namespace aleph::models {
namespace {

using kernels::Activation;

// transformers' ACT2FN, without what no known model uses (leaky_relu, mish, prelu, clipped gelu, ...).
constexpr std::array<std::pair<const char*, Activation>, 16> kActivations = {{
    {"gelu", Activation::kGelu},
    {"gelu_python", Activation::kGelu},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
    {"gelu_accurate", Activation::kGeluTanh},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_python_tanh", Activation::kGeluTanh},
    {"quick_gelu", Activation::kQuickGelu},
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"relu", Activation::kRelu},
    {"relu2", Activation::kReluSquared},
    {"tanh", Activation::kTanh},
    {"sigmoid", Activation::kSigmoid},
    {"linear", Activation::kIdentity},
    {"identity", Activation::kIdentity},
}};

std::string known_activations() {
  std::string names;
  for (const auto& [name, kind] : kActivations) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

}  // namespace

std::optional<Activation> find_activation(const std::string& name) {
  for (const auto& [known, kind] : kActivations)
    if (name == known) return kind;
  return std::nullopt;
}

const char* activation_name(Activation activation) {
  for (const auto& [known, kind] : kActivations)
    if (kind == activation) return known;
  ALEPH_CHECK(false, "activation {} has no name", static_cast<int>(activation));
  return "";
}

bool ConfigReader::has(const char* key) const {
  return config_->is_object() && config_->contains(key) && !config_->at(key).is_null();
}

void ConfigReader::fail(const std::string& key, const std::string& found, const std::string& expected) const {
  throw Error(*object_ + ": " + key, found, expected);
}

int64_t ConfigReader::size(const char* key, int64_t fallback, int64_t largest) const {
  const auto value = json_get_or<int64_t>(*config_, key, fallback, *object_);
  if (value < 1 || value > largest)
    fail(key, has(key) ? json_shown(config_->at(key)) : fmt::format("{}", value),
         fmt::format("a whole number from 1 to {}", largest));
  return value;
}

int64_t ConfigReader::size(const char* key, const char* alias, int64_t fallback, int64_t largest) const {
  return has(key) || !has(alias) ? size(key, fallback, largest) : size(alias, fallback, largest);
}

bool ConfigReader::flag(const char* key, bool fallback) const {
  return json_get_or<bool>(*config_, key, fallback, *object_);
}

double ConfigReader::positive(const char* key, double fallback) const {
  const auto value = json_get_or<double>(*config_, key, fallback, *object_);
  if (!(value > 0) || !std::isfinite(value) || value > 1e30)
    fail(key, json_shown(config_->at(key)), "a number above 0");
  return value;
}

float ConfigReader::dropout(const char* key, float fallback) const {
  const auto value = json_get_or<double>(*config_, key, fallback, *object_);
  if (!(value >= 0 && value < 1))
    fail(key, json_shown(config_->at(key)), "a probability from 0 up to, not including, 1");
  return static_cast<float>(value);
}

Activation ConfigReader::activation(const char* key, const std::string& fallback) const {
  const auto name = json_get_or<std::string>(*config_, key, fallback, *object_);
  const std::optional<Activation> kind = find_activation(name);
  if (!kind) fail(key, "'" + printable(name) + "'", "one of " + known_activations());
  return *kind;
}

std::optional<int64_t> ConfigReader::token_id(const char* key, std::optional<int64_t> fallback) const {
  if (!config_->contains(key)) return fallback;
  if (config_->at(key).is_null()) return std::nullopt;
  return json_get<int64_t>(*config_, key, *object_);
}

std::vector<int64_t> ConfigReader::token_ids(const char* key, std::vector<int64_t> fallback) const {
  if (!config_->contains(key)) return fallback;
  const nlohmann::json& value = config_->at(key);
  if (value.is_null()) return {};
  if (!value.is_array()) return {json_get<int64_t>(*config_, key, *object_)};
  std::vector<int64_t> ids;
  for (const nlohmann::json& id : value) {
    if (!id.is_number_integer()) fail(key, json_shown(value), "a token id or a list of token ids");
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

int64_t head_dim_of(const ConfigReader& reader, int64_t hidden, int64_t heads) {
  if (hidden % heads != 0)
    reader.fail("attention heads", fmt::format("{} for a hidden size of {}", heads, hidden),
                "a number of heads that divides the hidden size");
  return hidden / heads;
}

TransformerSpec gpt_spec(const ConfigReader& reader, const GptValues& values, nn::BlockSpec block,
                         int64_t layers) {
  const auto epsilon = static_cast<float>(reader.positive("layer_norm_epsilon", 1e-5));
  block.hidden_size = values.hidden;
  block.intermediate_size = values.intermediate;
  block.heads = block.kv_heads = values.heads;
  block.head_dim = values.head_dim;
  block.norm = nn::NormKind::kLayerNorm;
  block.norm_epsilon = epsilon;
  block.activation = reader.activation("activation_function", "gelu_new");
  TransformerSpec spec;
  spec.embedding = {.vocab_size = values.vocab_size,
                    .hidden_size = values.hidden,
                    .learned_positions = values.positions,
                    .dropout = values.embedding_dropout};
  spec.blocks.assign(static_cast<size_t>(layers), block);
  spec.head = {.vocab_size = values.vocab_size,
               .hidden_size = values.hidden,
               .norm = nn::NormKind::kLayerNorm,
               .norm_epsilon = epsilon,
               .tied = reader.flag("tie_word_embeddings", true)};
  spec.max_positions = values.positions;
  spec.eos_ids = reader.token_ids("eos_token_id", {50256});
  spec.bos_id = reader.token_id("bos_token_id", 50256);
  spec.pad_id = reader.token_id("pad_token_id", std::nullopt);
  return spec;
}

}  // namespace aleph::models
