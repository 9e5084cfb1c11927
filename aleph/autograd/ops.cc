#include "aleph/autograd/ops.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "aleph/kernels/cross_entropy/cross_entropy.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/embedding/embedding.h"
#include "aleph/kernels/matmul/matmul.h"
#include "aleph/kernels/norm/norm.h"

namespace aleph::autograd {
namespace {

Tensor activation_tensor(DeviceContext& device, const Shape& shape, DType dtype) {
  return Tensor(device.memory(), shape, dtype, MemoryTag::kActivations);
}

/// `shape` with another last dimension.
Shape with_last(const Shape& shape, int64_t last) {
  std::array<int64_t, Shape::kMaxRank> sizes{};
  std::copy(shape.sizes().begin(), shape.sizes().end(), sizes.begin());
  sizes[static_cast<size_t>(shape.rank() - 1)] = last;
  return Shape(std::span<const int64_t>(sizes.data(), static_cast<size_t>(shape.rank())));
}

ConstTensorView value_or_none(const Parameter* parameter) {
  return parameter == nullptr ? ConstTensorView() : ConstTensorView(parameter->value);
}
TensorView gradient_or_none(const Parameter* parameter) {
  return parameter == nullptr ? TensorView() : parameter->gradient;
}

void linear_backward(DeviceContext& device, const Variable& x, Parameter& weight, Parameter* bias,
                     const Tensor& dy) {
  if (bias != nullptr) kernels::column_sum(device, {.x = dy.view(), .sums = bias->gradient});
  kernels::matmul(
      device,
      {.a = dy.view(), .transpose_a = true, .b = x.value(), .c = weight.gradient, .accumulate = true});
  Tensor dx = activation_tensor(device, x.shape(), x.dtype());
  kernels::matmul(device, {.a = dy.view(), .b = weight.value, .c = dx.view()});
  x.gradient().add(device, std::move(dx));
}

}  // namespace

Variable linear(const OpContext& context, const Variable& x, Parameter& weight, Parameter* bias) {
  DeviceContext& device = context.device;
  const Variable y(activation_tensor(device, with_last(x.shape(), weight.shape[0]), x.dtype()));
  kernels::matmul(
      device,
      {.a = x.value(), .b = weight.value, .transpose_b = true, .c = y.value(), .bias = value_or_none(bias)});
  if (context.tape != nullptr) {
    context.tape->record({x}, [&device, x, &weight, bias, dy = y.gradient()] {
      linear_backward(device, x, weight, bias, dy.take());
    });
  }
  return y;
}

Variable layer_norm(const OpContext& context, const Variable& x, Parameter& weight, Parameter* bias,
                    float epsilon) {
  DeviceContext& device = context.device;
  const Shape rows{x.shape().rows()};
  const Variable mean(activation_tensor(device, rows, DType::kF32)),
      rstd(activation_tensor(device, rows, DType::kF32));
  const Variable y(activation_tensor(device, x.shape(), x.dtype()));
  kernels::layer_norm_forward(device, {.x = x.value(),
                                       .weight = weight.value,
                                       .bias = value_or_none(bias),
                                       .epsilon = epsilon,
                                       .y = y.value(),
                                       .mean = mean.value(),
                                       .rstd = rstd.value()});
  if (context.tape == nullptr) return y;
  context.tape->record({x, mean, rstd}, [&device, x, mean, rstd, &weight, bias, gy = y.gradient()] {
    const Tensor dy = gy.take();
    Tensor dx = activation_tensor(device, x.shape(), x.dtype());
    kernels::layer_norm_backward(device, {.x = x.value(),
                                          .weight = weight.value,
                                          .mean = mean.value(),
                                          .rstd = rstd.value(),
                                          .dy = dy.view(),
                                          .dx = dx.view(),
                                          .dweight = weight.gradient,
                                          .dbias = gradient_or_none(bias)});
    x.gradient().add(device, std::move(dx));
  });
  return y;
}

Variable rms_norm(const OpContext& context, const Variable& x, Parameter& weight, float epsilon) {
  DeviceContext& device = context.device;
  const Variable rstd(activation_tensor(device, {x.shape().rows()}, DType::kF32));
  const Variable y(activation_tensor(device, x.shape(), x.dtype()));
  kernels::rms_norm_forward(
      device,
      {.x = x.value(), .weight = weight.value, .epsilon = epsilon, .y = y.value(), .rstd = rstd.value()});
  if (context.tape == nullptr) return y;
  context.tape->record({x, rstd}, [&device, x, rstd, &weight, gy = y.gradient()] {
    const Tensor dy = gy.take();
    Tensor dx = activation_tensor(device, x.shape(), x.dtype());
    kernels::rms_norm_backward(device, {.x = x.value(),
                                        .weight = weight.value,
                                        .rstd = rstd.value(),
                                        .dy = dy.view(),
                                        .dx = dx.view(),
                                        .dweight = weight.gradient});
    x.gradient().add(device, std::move(dx));
  });
  return y;
}

Variable activation(const OpContext& context, const Variable& x, kernels::Activation kind) {
  DeviceContext& device = context.device;
  const Variable y(activation_tensor(device, x.shape(), x.dtype()));
  kernels::activation_forward(device, {.activation = kind, .x = x.value(), .y = y.value()});
  if (context.tape == nullptr) return y;
  context.tape->record({x}, [&device, x, kind, gy = y.gradient()] {
    Tensor gradient = gy.take();
    kernels::activation_backward(
        device, {.activation = kind, .x = x.value(), .dy = gradient.view(), .dx = gradient.view()});
    x.gradient().add(device, std::move(gradient));
  });
  return y;
}

Variable gated_activation(const OpContext& context, const Variable& x, kernels::Activation kind) {
  DeviceContext& device = context.device;
  const Variable y(activation_tensor(device, with_last(x.shape(), x.shape()[-1] / 2), x.dtype()));
  kernels::gated_forward(device, {.activation = kind, .x = x.value(), .y = y.value()});
  if (context.tape == nullptr) return y;
  context.tape->record({x}, [&device, x, kind, gy = y.gradient()] {
    const Tensor dy = gy.take();
    Tensor dx = activation_tensor(device, x.shape(), x.dtype());
    kernels::gated_backward(device, {.activation = kind, .x = x.value(), .dy = dy.view(), .dx = dx.view()});
    x.gradient().add(device, std::move(dx));
  });
  return y;
}

Variable add(const OpContext& context, const Variable& a, const Variable& b) {
  DeviceContext& device = context.device;
  const Variable y(activation_tensor(device, a.shape(), a.dtype()));
  kernels::add(device, a.value(), b.value(), y.value());
  if (context.tape == nullptr) return y;
  context.tape->record({}, [&device, ga = a.gradient(), gb = b.gradient(), gy = y.gradient()] {
    Tensor dy = gy.take();
    Tensor copy = activation_tensor(device, dy.shape(), dy.dtype());
    kernels::convert(device, dy.view(), copy.view());
    ga.add(device, std::move(copy));
    gb.add(device, std::move(dy));
  });
  return y;
}

Variable dropout(const OpContext& context, const Variable& x, float probability, const RandomKey& key) {
  if (probability == 0) return x;
  DeviceContext& device = context.device;
  const Variable y(activation_tensor(device, x.shape(), x.dtype()));
  kernels::dropout(device, {.x = x.value(), .y = y.value(), .probability = probability, .key = key});
  if (context.tape == nullptr) return y;
  context.tape->record({}, [&device, gx = x.gradient(), probability, key, gy = y.gradient()] {
    Tensor gradient = gy.take();
    kernels::dropout(device,
                     {.x = gradient.view(), .y = gradient.view(), .probability = probability, .key = key});
    gx.add(device, std::move(gradient));
  });
  return y;
}

namespace {

void rotate(DeviceContext& device, const TensorView& qkv, const kernels::AttentionSpec& spec,
            const RotaryTables& tables, kernels::RotaryDirection direction) {
  const int64_t all_heads = spec.heads + 2 * spec.kv_heads;
  kernels::rotary(device,
                  {.x = qkv.reshape({qkv.elements() / (all_heads * spec.head_dim), all_heads, spec.head_dim}),
                   .heads = spec.heads + spec.kv_heads,
                   .cosines = tables.cosines,
                   .sines = tables.sines,
                   .positions = tables.positions,
                   .layout = tables.layout,
                   .direction = direction});
}

}  // namespace

Variable attention(const OpContext& context, const Variable& qkv, const kernels::AttentionSpec& spec,
                   const std::optional<RotaryTables>& rotary) {
  DeviceContext& device = context.device;
  const int64_t batch = qkv.shape()[0], seq = qkv.shape()[1];
  const Shape fused{batch, seq, spec.heads + 2 * spec.kv_heads, spec.head_dim};
  const Shape heads{batch, seq, spec.heads, spec.head_dim};
  if (rotary) rotate(device, qkv.value(), spec, *rotary, kernels::RotaryDirection::kForward);
  const Variable out(activation_tensor(device, {batch, seq, spec.heads * spec.head_dim}, qkv.dtype()));
  const Variable log_sums(activation_tensor(device, {batch, spec.heads, seq}, DType::kF32));
  kernels::attention_forward(device, {.spec = spec,
                                      .qkv = qkv.value().reshape(fused),
                                      .out = out.value().reshape(heads),
                                      .log_sums = log_sums.value()});
  if (context.tape == nullptr) return out;
  context.tape->record({qkv, out, log_sums}, [&device, qkv, spec, rotary, out, log_sums, fused, heads] {
    const Tensor dout = out.gradient().take();
    Tensor dqkv = activation_tensor(device, qkv.shape(), qkv.dtype());
    kernels::attention_backward(device, {.spec = spec,
                                         .qkv = qkv.value().reshape(fused),
                                         .out = out.value().reshape(heads),
                                         .log_sums = log_sums.value(),
                                         .dout = dout.view().reshape(heads),
                                         .dqkv = dqkv.view().reshape(fused)});
    if (rotary) rotate(device, dqkv.view(), spec, *rotary, kernels::RotaryDirection::kBackward);
    qkv.gradient().add(device, std::move(dqkv));
  });
  return out;
}

Variable embedding(const OpContext& context, const EmbeddingInputs& inputs, Parameter& table,
                   Parameter* position_table) {
  DeviceContext& device = context.device;
  const Shape& ids = inputs.ids.shape();
  const Shape tokens{ids.elements()};
  const Variable y(activation_tensor(device, {ids[0], ids[1], table.shape[1]}, table.value.dtype()));
  const TensorView rows = y.value().reshape({ids.elements(), table.shape[1]});
  kernels::embedding_forward(device, {.ids = inputs.ids.reshape(tokens), .table = table.value, .y = rows});
  if (position_table != nullptr) {
    kernels::embedding_forward(
        device, {.ids = inputs.positions, .table = position_table->value, .y = rows, .accumulate = true});
  }
  if (context.tape == nullptr) return y;
  context.tape->record({}, [&device, inputs, tokens, &table, position_table, gy = y.gradient()] {
    const Tensor dy = gy.take();
    const ConstTensorView drows = dy.view().reshape({tokens[0], table.shape[1]});
    kernels::embedding_backward(device, {.ids = inputs.ids.reshape(tokens),
                                         .dy = drows,
                                         .dtable = table.gradient,
                                         .padding_id = inputs.padding_id});
    if (position_table != nullptr) {
      kernels::embedding_backward(device,
                                  {.ids = inputs.positions, .dy = drows, .dtable = position_table->gradient});
    }
  });
  return y;
}

namespace {

/// Rows of a [tokens, vocabulary] matrix in pieces of equal size of at most `bytes`. A function of the shape
/// alone, so that sums are cut alike in every plan.
int64_t rows_per_piece(int64_t tokens, int64_t row_bytes, int64_t bytes) {
  const int64_t limit = std::max<int64_t>(16, bytes / row_bytes);
  const int64_t pieces = std::max<int64_t>(1, (tokens + limit - 1) / limit);
  return std::max<int64_t>(1, (tokens + pieces - 1) / pieces);
}

int64_t count_targets(DeviceContext& device, const ConstTensorView& targets) {
  if (device.meta()) return targets.elements();
  const auto labels = targets.span<int32_t>();
  return std::count_if(labels.begin(), labels.end(), [](int32_t label) { return label != -100; });
}

/// Rows of the input of the head, and what becomes of them.
struct HeadRows {
  ConstTensorView x;        // [rows, hidden]
  ConstTensorView targets;  // [rows]
  TensorView losses;        // [rows]
  TensorView dx;            // [rows, hidden], empty: forward only
  float gradient_scale;

  HeadRows slice(int64_t begin, int64_t count) const {
    return {.x = x.slice(begin, count),
            .targets = targets.slice(begin, count),
            .losses = losses.slice(begin, count),
            .dx = dx ? dx.slice(begin, count) : TensorView(),
            .gradient_scale = gradient_scale};
  }
};

/// Calls `body(begin, count)` on pieces of the rows.
template <typename Body>
void for_pieces(int64_t rows, int64_t row_bytes, int64_t bytes, const Body& body) {
  const int64_t step = rows_per_piece(rows, row_bytes, bytes);
  for (int64_t begin = 0; begin < rows; begin += step) body(begin, std::min(step, rows - begin));
}

/// Losses, and the gradient of the logits [rows, vocabulary] where it is wanted. fp32 logits are 32 MiB at a
/// time, or stand where their gradient will.
void score(DeviceContext& device, const HeadRows& rows, const Parameter& weight, const Parameter* bias,
           const TensorView& dlogits) {
  const int64_t vocabulary = weight.shape[0];
  for_pieces(rows.x.shape()[0], 4 * vocabulary, int64_t{32} << 20, [&](int64_t begin, int64_t count) {
    const HeadRows part = rows.slice(begin, count);
    const TensorView gradient = dlogits ? dlogits.slice(begin, count) : TensorView();
    Tensor own;
    if (!gradient || gradient.dtype() != DType::kF32)
      own = Tensor(device.memory(), {count, vocabulary}, DType::kF32, MemoryTag::kWorkspace);
    const TensorView logits = own ? own.view() : gradient;
    kernels::matmul(
        device,
        {.a = part.x, .b = weight.value, .transpose_b = true, .c = logits, .bias = value_or_none(bias)});
    kernels::cross_entropy(device, {.logits = logits,
                                    .labels = part.targets,
                                    .losses = part.losses,
                                    .gradient = gradient,
                                    .gradient_scale = gradient ? rows.gradient_scale : 0.0f});
  });
}

/// The whole of the head over some rows. Each call passes over the gradient of the weight once.
void head_piece(DeviceContext& device, const HeadRows& rows, Parameter& weight, Parameter* bias) {
  if (!rows.dx) return score(device, rows, weight, bias, {});
  Tensor dlogits(device.memory(), {rows.x.shape()[0], weight.shape[0]}, rows.x.dtype(),
                 MemoryTag::kWorkspace);
  score(device, rows, weight, bias, dlogits.view());
  if (bias != nullptr) kernels::column_sum(device, {.x = dlogits.view(), .sums = bias->gradient});
  kernels::matmul(
      device,
      {.a = dlogits.view(), .transpose_a = true, .b = rows.x, .c = weight.gradient, .accumulate = true});
  kernels::matmul(device, {.a = dlogits.view(), .b = weight.value, .c = rows.dx});
}

}  // namespace

CrossEntropyResult linear_cross_entropy(const OpContext& context, const LinearCrossEntropyArgs& args) {
  DeviceContext& device = context.device;
  const Variable& x = args.x;
  const int64_t hidden = x.shape()[-1], tokens = x.shape().rows();
  const TensorView rows = x.value().reshape({tokens, hidden});
  CrossEntropyResult result{.loss_sum = 0, .tokens = count_targets(device, args.targets)};
  const auto counted = static_cast<float>(std::max<int64_t>(result.tokens, 1));
  Tensor losses(device.memory(), {tokens}, DType::kF32, MemoryTag::kWorkspace);
  Tensor dx;
  if (context.tape != nullptr) dx = activation_tensor(device, x.shape(), x.dtype());
  const HeadRows all{.x = rows,
                     .targets = args.targets.reshape({tokens}),
                     .losses = losses.view(),
                     .dx = dx ? dx.view().reshape({tokens, hidden}) : TensorView(),
                     .gradient_scale = args.loss_scale / counted};
  for_pieces(tokens, args.weight->shape[0] * dtype_bytes(x.dtype()), int64_t{128} << 20,
             [&](int64_t begin, int64_t count) {
               head_piece(device, all.slice(begin, count), *args.weight, args.bias);
             });
  if (!device.meta()) {
    for (const float loss : losses.view().span<float>()) result.loss_sum += static_cast<double>(loss);
  }
  if (context.tape != nullptr) {
    auto kept = std::make_shared<Tensor>(std::move(dx));
    context.tape->record({}, [&device, gx = x.gradient(), kept] { gx.add(device, std::move(*kept)); });
  }
  return result;
}

}  // namespace aleph::autograd
