// The functions the table in registry.cc is made of; one file per family.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "aleph/models/checkpoint_map.h"
#include "aleph/models/transformer_spec.h"

namespace aleph::models {

TransformerSpec read_gpt2(const nlohmann::json& config, const std::string& object);
std::vector<TensorBinding> gpt2_bindings(const TransformerSpec& spec);

TransformerSpec read_gpt_neo(const nlohmann::json& config, const std::string& object);
std::vector<TensorBinding> gpt_neo_bindings(const TransformerSpec& spec);

TransformerSpec read_llama(const nlohmann::json& config, const std::string& object);
std::vector<TensorBinding> llama_bindings(const TransformerSpec& spec);

}  // namespace aleph::models
