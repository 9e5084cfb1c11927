#include "aleph/models/registry.h"

#include <array>

#include "aleph/base/error.h"
#include "aleph/base/json.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/json_file.h"
#include "aleph/models/families.h"

namespace aleph::models {
namespace {

constexpr std::array kFamilies = {
    Family{"gpt2", "GPT2LMHeadModel", "transformer.", read_gpt2, gpt2_bindings},
    Family{"gpt_neo", "GPTNeoForCausalLM", "transformer.", read_gpt_neo, gpt_neo_bindings},
    Family{"llama", "LlamaForCausalLM", "model.", read_llama, llama_bindings},
};

std::string known_names() {
  std::string names;
  for (const Family& family : kFamilies) names += (names.empty() ? "" : ", ") + std::string(family.name);
  return names;
}

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> endings) {
  for (const std::string_view ending : endings)
    if (name.ends_with(ending)) return true;
  return false;
}

}  // namespace

const Family& find_family(const std::string& name, const std::string& object) {
  for (const Family& family : kFamilies)
    if (family.name == name) return family;
  throw Error(object + ": model_type", "'" + printable(name) + "'", "one of " + known_names());
}

TransformerSpec read_spec(const nlohmann::json& config, const std::string& object) {
  if (!config.is_object()) throw Error(object, "no JSON object", "the config.json of a model");
  if (!config.contains("model_type"))
    throw Error(object, "no key 'model_type'", "a model_type, one of " + known_names());
  const auto& family = find_family(json_get<std::string>(config, "model_type", object), object);
  TransformerSpec spec = family.read(config, object);
  spec.family = family.name;
  return spec;
}

std::filesystem::path config_file(const std::filesystem::path& directory) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored))
    throw Error(directory.string(), "no directory", "a Hugging Face model directory");
  const std::filesystem::path file = directory / "config.json";
  if (std::filesystem::exists(file, ignored)) return file;
  if (checkpoint::find_checkpoints(directory).empty())
    throw Error(directory.string(), "no config.json", "a Hugging Face model directory");
  throw Error(directory.string(), "training checkpoints only",
              "a model: the run saves it when it ends (--resume)");
}

TransformerSpec read_directory_spec(const std::filesystem::path& directory) {
  const std::filesystem::path file = config_file(directory);
  return read_spec(io::parse_json_file(file), file.string());
}

std::vector<TensorBinding> checkpoint_map(const TransformerSpec& spec) {
  return find_family(spec.family, "model").bindings(spec);
}

std::string without_prefix(const TransformerSpec& spec, const std::string& checkpoint_name) {
  const std::string prefix = find_family(spec.family, "model").prefix;
  return checkpoint_name.starts_with(prefix) ? checkpoint_name.substr(prefix.size()) : checkpoint_name;
}

bool is_known_extra(const TransformerSpec& spec, std::string_view checkpoint_name) {
  if (spec.head.tied && checkpoint_name == "lm_head.weight") return true;
  return ends_with_any(checkpoint_name, {".attn.bias", ".attn.masked_bias", ".attn.attention.bias",
                                         ".attn.attention.masked_bias", "rotary_emb.inv_freq",
                                         "rotary_emb.original_inv_freq"});
}

}  // namespace aleph::models
