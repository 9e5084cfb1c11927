// The families this program knows. A new one is a file like llama.cc, a line in the table and a golden test.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "aleph/models/checkpoint_map.h"
#include "aleph/models/transformer_spec.h"

namespace aleph::models {

struct Family {
  const char* name;          ///< `model_type`
  const char* architecture;  ///< class that transformers loads it with
  const char* prefix;        ///< of names in checkpoints of that class; the base model's own have none
  TransformerSpec (*read)(const nlohmann::json& config, const std::string& object);
  std::vector<TensorBinding> (*bindings)(const TransformerSpec& spec);
};

/// Throws Error naming `object`, what was found and the known names.
const Family& find_family(const std::string& name, const std::string& object);

/// Reads a config.json, as written by transformers 4 or 5; keys that are absent have transformers' defaults.
/// `object` names the file in errors. Throws Error for an unknown model_type and for values that cannot be.
TransformerSpec read_spec(const nlohmann::json& config, const std::string& object);

/// The config.json of the model in `directory`. Throws Error saying what is there where it has none.
std::filesystem::path config_file(const std::filesystem::path& directory);
/// read_spec of it.
TransformerSpec read_directory_spec(const std::filesystem::path& directory);

}  // namespace aleph::models
