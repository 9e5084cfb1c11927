// Differentiable operations: a kernel forward, and its backward on the tape. Without a tape nothing is kept.
#pragma once

#include <optional>

#include "aleph/autograd/parameter.h"
#include "aleph/autograd/tape.h"
#include "aleph/autograd/variable.h"
#include "aleph/base/random.h"
#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/attention/attention.h"
#include "aleph/kernels/rotary/rotary.h"

namespace aleph::autograd {

/// Where an operation computes and whether it records.
struct OpContext {
  DeviceContext& device;
  Tape* tape = nullptr;  ///< null: forward only
};

/// x [.., in] times weight [out, in] transposed, plus bias [out] where given: [.., out].
Variable linear(const OpContext& context, const Variable& x, Parameter& weight, Parameter* bias);

/// Layer norm with bias, RMS norm without, over the last dimension.
Variable layer_norm(const OpContext& context, const Variable& x, Parameter& weight, Parameter* bias,
                    float epsilon);
Variable rms_norm(const OpContext& context, const Variable& x, Parameter& weight, float epsilon);

Variable activation(const OpContext& context, const Variable& x, kernels::Activation kind);
/// x [.., 2 n] to [.., n]: f(first half) times second half.
Variable gated_activation(const OpContext& context, const Variable& x, kernels::Activation kind);

/// a + b of equal shape. The sum may take over the memory of neither.
Variable add(const OpContext& context, const Variable& a, const Variable& b);

/// Nothing happens at probability 0.
Variable dropout(const OpContext& context, const Variable& x, float probability, const RandomKey& key);

/// Tables of rotary positions, fp32, read on the device.
struct RotaryTables {
  ConstTensorView cosines;    ///< [positions, rotary_dim / 2]
  ConstTensorView sines;      ///< [positions, rotary_dim / 2]
  ConstTensorView positions;  ///< [batch * seq]; int32
  kernels::RotaryLayout layout = kernels::RotaryLayout::kHalves;
};

/// Self-attention over a fused projection qkv [batch, seq, (heads + 2 kv_heads) * head_dim]; gives
/// [batch, seq, heads * head_dim]. With `rotary`, queries and keys are turned first, in place: qkv must have
/// no other reader.
Variable attention(const OpContext& context, const Variable& qkv, const kernels::AttentionSpec& spec,
                   const std::optional<RotaryTables>& rotary);

/// ids [batch, seq] int32 to [batch, seq, hidden]; plus positions [batch * seq] looked up in `position_table`
/// where given. The row of padding_id (-1: none) gets no gradient.
struct EmbeddingInputs {
  ConstTensorView ids;
  ConstTensorView positions;
  int64_t padding_id = -1;
};
Variable embedding(const OpContext& context, const EmbeddingInputs& inputs, Parameter& table,
                   Parameter* position_table);

/// The last linear layer and the mean cross entropy, fused over pieces of the rows so that [tokens,
/// vocabulary] never exists at once.
struct LinearCrossEntropyArgs {
  Variable x;                   ///< [.., hidden]
  Parameter* weight = nullptr;  ///< [vocabulary, hidden]
  Parameter* bias = nullptr;    ///< optional [vocabulary]
  ConstTensorView targets;      ///< [tokens]; int32, -100 is ignored; read on the host
  float loss_scale = 1;  ///< factor of the gradients (loss scale / accumulation), not of the returned loss
};
/// Sum and count over the rows that are not ignored.
struct CrossEntropyResult {
  double loss_sum = 0;
  int64_t tokens = 0;
  double mean() const { return tokens == 0 ? 0.0 : loss_sum / static_cast<double>(tokens); }
};
/// With a tape the gradients of loss_scale * mean are computed in the same pass: parameter gradients at once,
/// the gradient of x when the tape runs back.
CrossEntropyResult linear_cross_entropy(const OpContext& context, const LinearCrossEntropyArgs& args);

}  // namespace aleph::autograd
