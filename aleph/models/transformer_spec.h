// A model as data: what config.json says, in one form for every family.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "aleph/nn/spec.h"
#include "aleph/tensor/shape.h"

namespace aleph::models {

/// Everything that training and inference build a model from. Names of parameters as in nn/block.h.
struct TransformerSpec {
  std::string family;  ///< `model_type` of config.json
  nn::EmbeddingSpec embedding;
  std::vector<nn::BlockSpec> blocks;
  nn::HeadSpec head;
  int64_t max_positions = 0;     ///< longest context the model was made for
  std::vector<int64_t> eos_ids;  ///< empty: none
  std::optional<int64_t> bos_id, pad_id;
  bool operator==(const TransformerSpec&) const = default;
};

struct NamedShape {
  std::string name;
  Shape shape;
  bool operator==(const NamedShape&) const = default;
};

/// Every parameter of the model by name, in the order of the forward pass, a tied head's projection left out
/// (it is the embedding).
std::vector<NamedShape> parameter_shapes(const TransformerSpec& spec);
/// Those of the embedding, of block `index`, and of the head alone.
std::vector<NamedShape> embedding_shapes(const TransformerSpec& spec);
std::vector<NamedShape> block_shapes(const TransformerSpec& spec, int64_t index);
std::vector<NamedShape> head_shapes(const TransformerSpec& spec);

int64_t parameter_count(const TransformerSpec& spec);

}  // namespace aleph::models
