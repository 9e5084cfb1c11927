// A model is a list of blocks: embedding, transformer blocks, head. A block is the unit of gathering,
// prefetching, releasing, recomputation and placement.
//
// Names of parameters: "embedding.tokens.weight", "embedding.positions.weight",
// "blocks.I.attention_norm.weight|bias", "blocks.I.attention.qkv.weight|bias" (rows: queries, keys, values),
// "blocks.I.attention.output.weight|bias", "blocks.I.mlp_norm.weight|bias", "blocks.I.mlp.up.weight|bias"
// (gated: gate rows, then up rows), "blocks.I.mlp.down.weight|bias", "head.norm.weight|bias",
// "head.output.weight|bias". Linear weights are [out, in].
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "aleph/autograd/ops.h"
#include "aleph/nn/spec.h"

namespace aleph::nn {

/// One micro-batch on the device. Views live as long as the pass.
struct Batch {
  ConstTensorView ids;        ///< [batch, seq]; int32
  ConstTensorView positions;  ///< [batch * seq]; int32
  ConstTensorView targets;    ///< [batch, seq]; int32; the token each position should predict, -100: none
};

/// Everything a forward needs besides its input.
struct Pass {
  autograd::OpContext op;
  Batch batch;
  bool training = false;  ///< dropout is applied
  uint64_t seed = 0;
  uint64_t micro_step = 0;  ///< counts micro-batches over the whole run: keys dropout
  float loss_scale = 1;     ///< factor of all gradients
  TensorView logits;        ///< optional [batch, seq, vocabulary]; fp32; the head writes them when given
  TensorView last_hidden;   ///< optional [batch, seq, hidden]; fp32; the state after the final norm
  autograd::CrossEntropyResult result;  ///< written by the head
};

class Block {
 public:
  virtual ~Block() = default;
  /// All parameters the block reads, borrowed ones (tied embeddings) included.
  virtual std::vector<autograd::Parameter*> parameters() = 0;
  /// hidden [batch, seq, hidden_size] to the same; the first block ignores its input, the last returns
  /// nothing and leaves the loss in pass.result.
  virtual autograd::Variable forward(Pass& pass, const autograd::Variable& hidden) = 0;
  /// What backward needs of the parameters.
  virtual autograd::PinMode backward_pin() const { return autograd::PinMode::kValueAndGradient; }
};

using BlockList = std::vector<std::unique_ptr<Block>>;

}  // namespace aleph::nn
