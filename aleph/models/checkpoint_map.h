// Which tensor of a Hugging Face checkpoint holds which rows of which parameter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "aleph/models/transformer_spec.h"
#include "aleph/tensor/shape.h"

namespace aleph::models {

/// One checkpoint tensor. Rows [row_begin, row_begin + rows) of the parameter (elements, for vectors) are the
/// tensor, or its transpose.
struct TensorBinding {
  std::string checkpoint_name;  ///< as transformers saves it, prefix ("transformer.", "model.") included
  Shape checkpoint_shape;
  std::string parameter;
  int64_t row_begin = 0;
  int64_t rows = 0;
  bool transposed = false;  ///< the checkpoint holds [in, out]
};

/// All bindings of a model, in the order of the forward pass. Every row of every parameter is bound once.
std::vector<TensorBinding> checkpoint_map(const TransformerSpec& spec);

/// The name a checkpoint without its prefix uses ("transformer.wte.weight": "wte.weight"), or the name
/// itself.
std::string without_prefix(const TransformerSpec& spec, const std::string& checkpoint_name);

/// True for tensors that checkpoints hold but models do not need: causal masks, rotary frequencies, and the
/// projection of a tied head.
bool is_known_extra(const TransformerSpec& spec, std::string_view checkpoint_name);

}  // namespace aleph::models
