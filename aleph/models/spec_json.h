// A specification as JSON, to be kept and compared.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "aleph/models/transformer_spec.h"

namespace aleph::models {

/// Everything that decides shapes and numbers of a model: not its family, special tokens and longest context.
/// Blocks that follow one another and are the same stand there once, with their count.
nlohmann::json spec_json(const TransformerSpec& spec);

}  // namespace aleph::models
