#include "aleph/infer/model.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "aleph/base/error.h"
#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/attention/attention.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/rotary/rotary.h"

namespace aleph::infer {
namespace {

/// One table for each distinct specification.
std::vector<std::pair<nn::RotarySpec, nn::RotaryTable>> make_tables(DeviceContext& device,
                                                                    const models::TransformerSpec& spec,
                                                                    int64_t capacity) {
  std::vector<std::pair<nn::RotarySpec, nn::RotaryTable>> tables;
  for (const nn::BlockSpec& block : spec.blocks) {
    if (!block.rotary) continue;
    const auto same = [&](const auto& entry) { return entry.first == *block.rotary; };
    if (std::none_of(tables.begin(), tables.end(), same))
      tables.emplace_back(*block.rotary, nn::make_rotary_table(device, *block.rotary, capacity));
  }
  return tables;
}

/// Copies [rows, n] into columns [begin, begin + n) of [rows, columns].
void place_columns(const ConstTensorView& part, int64_t begin, const TensorView& whole) {
  const int64_t rows = part.shape()[0], row_bytes = part.bytes() / rows;
  const int64_t stride = whole.bytes() / rows, offset = begin * dtype_bytes(whole.dtype());
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(whole.raw() + row * stride + offset, part.raw() + row * row_bytes,
                static_cast<size_t>(row_bytes));
}

}  // namespace

Model::Model(DeviceContext& device, models::TransformerSpec spec, const models::ParameterReader* reader,
             const Options& options)
    : device_(device),
      spec_(std::move(spec)),
      reader_(reader),
      stored_(options.dtype),
      compute_(compute_dtype(options.dtype)),
      loader_(device, spec_, reader, options.dtype, options.home),
      head_norm_(loader_.load_head_norm()),
      head_bias_(loader_.load_head_bias()),
      rotary_(make_tables(device, spec_, options.capacity)),
      cache_(device, spec_.blocks, options.capacity, compute_),
      units_(device, spec_, loader_, options.home) {}

void Model::check(std::span<const int32_t> ids) const {
  if (length_ + static_cast<int64_t>(ids.size()) > capacity())
    throw Error("sequence", fmt::format("{} tokens", length_ + static_cast<int64_t>(ids.size())),
                fmt::format("at most {}", capacity()));
  for (const int32_t id : ids)
    if (id < 0 || id >= spec_.embedding.vocab_size)
      throw Error(
          "token", fmt::format("id {}", id),
          fmt::format("an id from 0 to {}, the vocabulary of the model", spec_.embedding.vocab_size - 1));
}

void Model::truncate(int64_t length) {
  ALEPH_CHECK(length >= 0 && length <= length_, "{} of {} tokens", length, length_);
  length_ = length;
}

void Model::skip(int64_t tokens) {
  ALEPH_CHECK(device_.meta() && length_ + tokens <= capacity());
  length_ += tokens;
}

Tensor Model::forward(std::span<const int32_t> ids) {
  ALEPH_CHECK(!ids.empty());
  check(ids);
  const int64_t vocab_size = spec_.head.vocab_size;
  Tensor logits(device_.memory(), Shape{vocab_size}, DType::kF32, MemoryTag::kActivations);
  while (!ids.empty()) {
    const auto chunk = ids.first(std::min<size_t>(ids.size(), kChunk));
    ids = ids.subspan(chunk.size());
    run_chunk(chunk, ids.empty() ? HeadRows::kLast : HeadRows::kNone, logits.view().reshape({1, vocab_size}));
  }
  return logits;
}

Tensor Model::forward_logits(std::span<const int32_t> ids) {
  truncate(0);
  check(ids);
  const auto seq = static_cast<int64_t>(ids.size());
  Tensor logits(device_.memory(), Shape{seq, spec_.head.vocab_size}, DType::kF32, MemoryTag::kActivations);
  for (int64_t begin = 0; begin < seq; begin += kChunk) {
    const int64_t count = std::min(kChunk, seq - begin);
    run_chunk(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)), HeadRows::kAll,
              logits.view().slice(begin, count));
  }
  return logits;
}

void Model::run_chunk(std::span<const int32_t> ids, HeadRows rows, const TensorView& logits) {
  Tensor embedded = embed(ids);
  const TensorView hidden = embedded.view();
  for (int64_t i = 0; i < units_.blocks(); ++i) {
    const bool last = i + 1 == units_.blocks();
    const BlockWeights& weights = units_.block(i, last && rows == HeadRows::kNone ? 0 : i + 1);
    const nn::BlockSpec& spec = spec_.blocks[static_cast<size_t>(i)];
    attention(spec, weights, i, hidden);
    mlp(spec, weights, hidden);
  }
  const auto tokens = static_cast<int64_t>(ids.size());
  if (rows == HeadRows::kLast) head(hidden.slice(tokens - 1, 1), logits);
  if (rows == HeadRows::kAll) head(hidden, logits);
  length_ += tokens;
}

Tensor Model::activations(const Shape& shape) const {
  return Tensor(device_.memory(), shape, compute_, MemoryTag::kActivations);
}

void Model::read_embedding(const char* parameter, int64_t row, const TensorView& dst) {
  if (!device_.meta()) reader_->read_rows(parameter, row, dst);
}

Tensor Model::widened(Tensor rows) {
  if (stored_ == compute_) return rows;
  Tensor wide = activations(rows.shape());
  kernels::convert(device_, rows.view(), wide.view());
  return wide;
}

Tensor Model::embed(std::span<const int32_t> ids) {
  const auto tokens = static_cast<int64_t>(ids.size());
  const Shape shape{tokens, spec_.embedding.hidden_size};
  Tensor rows(device_.memory(), shape, stored_, MemoryTag::kActivations);
  for (int64_t t = 0; t < tokens; ++t)
    read_embedding("embedding.tokens.weight", ids[static_cast<size_t>(t)], rows.view().slice(t, 1));
  // Files map the neighbours of what is touched: without this, the embedding would stay in memory.
  if (!device_.meta()) reader_->release("embedding.tokens.weight");
  Tensor hidden = widened(std::move(rows));
  if (spec_.embedding.learned_positions == 0) return hidden;
  Tensor positions(device_.memory(), shape, stored_, MemoryTag::kActivations);
  read_embedding("embedding.positions.weight", length_, positions.view());
  positions = widened(std::move(positions));
  kernels::add(device_, hidden.view(), positions.view(), hidden.view());
  return hidden;
}

Tensor Model::normalize(nn::NormKind kind, float epsilon, const NormWeights& norm, const ConstTensorView& x) {
  Tensor y = activations(x.shape());
  const Shape rows{x.shape()[0]};
  Tensor rstd(device_.memory(), rows, DType::kF32, MemoryTag::kWorkspace);
  if (kind == nn::NormKind::kRmsNorm) {
    kernels::rms_norm_forward(
        device_,
        {.x = x, .weight = norm.weight.view(), .epsilon = epsilon, .y = y.view(), .rstd = rstd.view()});
    return y;
  }
  Tensor mean(device_.memory(), rows, DType::kF32, MemoryTag::kWorkspace);
  kernels::layer_norm_forward(device_, {.x = x,
                                        .weight = norm.weight.view(),
                                        .bias = norm.bias.view(),
                                        .epsilon = epsilon,
                                        .y = y.view(),
                                        .mean = mean.view(),
                                        .rstd = rstd.view()});
  return y;
}

Tensor Model::project(const LinearWeights& linear, const ConstTensorView& x) {
  Tensor y = activations({x.shape()[0], linear.weight.rows()});
  kernels::matmul(device_, kernels::PackedMatmulArgs{
                               .a = x, .weight = &linear.weight, .c = y.view(), .bias = linear.bias.view()});
  return y;
}

void Model::rotate(const nn::RotarySpec& spec, const TensorView& qkv, int64_t heads) {
  const auto entry =
      std::find_if(rotary_.begin(), rotary_.end(), [&](const auto& pair) { return pair.first == spec; });
  const nn::RotaryTable& table = entry->second;
  Tensor positions(device_.memory(), Shape{qkv.shape()[0]}, DType::kI32, MemoryTag::kWorkspace);
  if (!device_.meta()) {
    const auto values = positions.view().span<int32_t>();
    std::iota(values.begin(), values.end(), static_cast<int32_t>(length_));
  }
  kernels::rotary(device_, {.x = qkv,
                            .heads = heads,
                            .cosines = table.cosines.view(),
                            .sines = table.sines.view(),
                            .positions = positions.view(),
                            .layout = spec.layout});
}

void Model::attention(const nn::BlockSpec& spec, const BlockWeights& weights, int64_t layer,
                      const TensorView& hidden) {
  const int64_t tokens = hidden.shape()[0];
  Tensor mixed = activations({tokens, spec.heads * spec.head_dim});
  const Shape by_head{tokens, spec.heads, spec.head_dim};
  {
    Tensor qkv =
        project(weights.qkv, normalize(spec.norm, spec.norm_epsilon, weights.attention_norm, hidden).view());
    const TensorView slots = qkv.view().reshape({tokens, spec.heads + 2 * spec.kv_heads, spec.head_dim});
    if (spec.rotary) rotate(*spec.rotary, slots, spec.heads + spec.kv_heads);
    Tensor q = activations(by_head);
    cache_.store(layer, slots, length_, q.view());
    kernels::attention_cached(device_, {.spec = {.heads = spec.heads,
                                                 .kv_heads = spec.kv_heads,
                                                 .head_dim = spec.head_dim,
                                                 .scale = spec.attention_scale,
                                                 .window = spec.attention_window},
                                        .q = q.view(),
                                        .keys = cache_.keys(layer),
                                        .values = cache_.values(layer),
                                        .first_position = length_,
                                        .out = mixed.view().reshape(by_head)});
  }
  const Tensor out = project(weights.attention_output, mixed.view());
  kernels::add(device_, hidden, out.view(), hidden);
}

void Model::mlp(const nn::BlockSpec& spec, const BlockWeights& weights, const TensorView& hidden) {
  Tensor inner = activations({hidden.shape()[0], spec.intermediate_size});
  {
    const Tensor up =
        project(weights.up, normalize(spec.norm, spec.norm_epsilon, weights.mlp_norm, hidden).view());
    if (spec.gated_mlp) {
      kernels::gated_forward(device_, {.activation = spec.activation, .x = up.view(), .y = inner.view()});
    } else {
      kernels::activation_forward(device_,
                                  {.activation = spec.activation, .x = up.view(), .y = inner.view()});
    }
  }
  const Tensor out = project(weights.down, inner.view());
  kernels::add(device_, hidden, out.view(), hidden);
}

void Model::head(const ConstTensorView& hidden, const TensorView& logits) {
  const Tensor normal = normalize(spec_.head.norm, spec_.head.norm_epsilon, head_norm_, hidden);
  const int64_t rows = hidden.shape()[0];
  for (int64_t i = 0; i < units_.head_tiles(); ++i) {
    const bool last = i + 1 == units_.head_tiles();
    const kernels::PackedWeight& tile = units_.head_tile(i, last ? 0 : units_.blocks() + i + 1);
    const int64_t begin = i * WeightLoader::kHeadTileRows;
    Tensor part(device_.memory(), Shape{rows, tile.rows()}, DType::kF32, MemoryTag::kActivations);
    const ConstTensorView bias =
        head_bias_ ? std::as_const(head_bias_).view().slice(begin, tile.rows()) : ConstTensorView();
    kernels::matmul(device_, kernels::PackedMatmulArgs{
                                 .a = normal.view(), .weight = &tile, .c = part.view(), .bias = bias});
    if (!device_.meta()) place_columns(part.view(), begin, logits);
  }
}

}  // namespace aleph::infer
