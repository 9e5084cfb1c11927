// Table look-up and its gradient.
#pragma once

#include <cstdint>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::kernels {

/// y[t] = table[ids[t]], or y[t] += with `accumulate` (summed in fp32, rounded to the dtype of y). Throws
/// Error when an id is outside the table.
struct EmbeddingForwardArgs {
  ConstTensorView ids;    ///< [tokens]; int32
  ConstTensorView table;  ///< [vocabulary, n]; fp32, bf16 or fp16
  TensorView y;           ///< [tokens, n]; dtype of table
  bool accumulate = false;
};
void embedding_forward(DeviceContext& device, const EmbeddingForwardArgs& args);
void embedding_forward_reference(const EmbeddingForwardArgs& args);

/// dtable[ids[t]] += dy[t] for every t with ids[t] != padding_id, in token order (deterministic).
struct EmbeddingBackwardArgs {
  ConstTensorView ids;      ///< [tokens]; int32
  ConstTensorView dy;       ///< [tokens, n]
  TensorView dtable;        ///< [vocabulary, n]; fp32, added to
  int64_t padding_id = -1;  ///< -1: none
};
void embedding_backward(DeviceContext& device, const EmbeddingBackwardArgs& args);
void embedding_backward_reference(const EmbeddingBackwardArgs& args);

}  // namespace aleph::kernels
