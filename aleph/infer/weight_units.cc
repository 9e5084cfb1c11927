#include "aleph/infer/weight_units.h"

#include <algorithm>
#include <utility>

#include "aleph/base/clock.h"
#include "aleph/kernels/elementwise/elementwise.h"

namespace aleph::infer {
namespace {

/// The parameter that holds the head's projection.
std::string head_matrix(const models::TransformerSpec& spec) {
  return spec.head.tied ? "embedding.tokens.weight" : "head.output.weight";
}

/// Parameters of units, that is all but the embedding's own.
std::vector<models::NamedShape> unit_parameters(const models::TransformerSpec& spec) {
  std::vector<models::NamedShape> parameters = models::head_shapes(spec);
  if (spec.head.tied)
    parameters.push_back({head_matrix(spec), Shape{spec.head.vocab_size, spec.head.hidden_size}});
  for (int64_t i = 0; i < static_cast<int64_t>(spec.blocks.size()); ++i)
    for (models::NamedShape& parameter : models::block_shapes(spec, i))
      parameters.push_back(std::move(parameter));
  return parameters;
}

/// Elements of the largest piece that is fetched at once.
int64_t largest_piece(const models::TransformerSpec& spec) {
  int64_t largest = 0;
  for (const models::NamedShape& parameter : unit_parameters(spec)) {
    const bool tiled = parameter.name == head_matrix(spec);
    const int64_t rows =
        tiled ? std::min(parameter.shape[0], WeightLoader::kHeadTileRows) : parameter.shape[0];
    largest = std::max(largest, parameter.shape.elements() / parameter.shape[0] * rows);
  }
  return largest;
}

}  // namespace

const char* weight_home_flag(WeightHome home) {
  if (home == WeightHome::kDevice) return "none";
  return home == WeightHome::kHost ? "cpu" : "nvme";
}

WeightLoader::WeightLoader(DeviceContext& device, const models::TransformerSpec& spec,
                           const models::ParameterReader* reader, DType stored, WeightHome home)
    : device_(device), spec_(spec), reader_(reader), stored_(stored), home_(home) {
  ALEPH_CHECK(reader != nullptr || device.meta());
  const Shape piece{largest_piece(spec)};
  if (home == WeightHome::kHost) {
    read_host_copies();
  } else {
    staging_ = Tensor(device.host_memory(), piece, stored, MemoryTag::kIoBuffers);
  }
  if (stored != compute_dtype(stored))
    widening_ = Tensor(device.host_memory(), piece, compute_dtype(stored), MemoryTag::kIoBuffers);
}

void WeightLoader::read_host_copies() {
  for (const models::NamedShape& parameter : unit_parameters(spec_)) {
    Tensor copy(device_.host_memory(), parameter.shape, stored_, MemoryTag::kParameters);
    if (!device_.meta()) {
      reader_->read_rows(parameter.name, 0, copy.view());
      reader_->release(parameter.name);
    }
    host_copies_.emplace(parameter.name, std::move(copy));
  }
}

ConstTensorView WeightLoader::fetch(const std::string& name, int64_t row_begin, const Shape& shape) {
  ConstTensorView rows;
  if (home_ == WeightHome::kHost) {
    rows = std::as_const(host_copies_.at(name)).view().slice(row_begin, shape[0]);
  } else {
    const TensorView staged(staging_.view().raw(), shape, stored_);
    if (!device_.meta()) {
      reader_->read_rows(name, row_begin, staged);
      if (home_ == WeightHome::kNvme) reader_->release(name);
    }
    rows = staged;
  }
  if (!widening_) return rows;
  const TensorView wide(widening_.view().raw(), shape, widening_.dtype());
  kernels::convert(device_, rows, wide);
  return wide;
}

Tensor WeightLoader::load_vector(const std::string& name, int64_t n) {
  Tensor vector(device_.memory(), Shape{n}, compute_dtype(stored_), MemoryTag::kParameters);
  kernels::convert(device_, fetch(name, 0, Shape{n}), vector.view());
  return vector;
}

kernels::PackedWeight WeightLoader::load_matrix(const std::string& name, int64_t row_begin,
                                                const Shape& shape) {
  return kernels::PackedWeight(device_, fetch(name, row_begin, shape));
}

NormWeights WeightLoader::load_norm(const std::string& name, nn::NormKind kind, int64_t n) {
  NormWeights norm;
  norm.weight = load_vector(name + ".weight", n);
  if (kind == nn::NormKind::kLayerNorm) norm.bias = load_vector(name + ".bias", n);
  return norm;
}

LinearWeights WeightLoader::load_linear(const std::string& name, int64_t out, int64_t in, bool bias) {
  LinearWeights linear;
  linear.weight = load_matrix(name + ".weight", 0, Shape{out, in});
  if (bias) linear.bias = load_vector(name + ".bias", out);
  return linear;
}

BlockWeights WeightLoader::load_block(int64_t index) {
  const nn::BlockSpec& spec = spec_.blocks.at(static_cast<size_t>(index));
  const std::string prefix = fmt::format("blocks.{}.", index);
  const int64_t hidden = spec.hidden_size, inner = spec.intermediate_size;
  BlockWeights block;
  block.attention_norm = load_norm(prefix + "attention_norm", spec.norm, hidden);
  block.qkv = load_linear(prefix + "attention.qkv", (spec.heads + 2 * spec.kv_heads) * spec.head_dim, hidden,
                          spec.qkv_bias);
  block.attention_output = load_linear(prefix + "attention.output", hidden, spec.heads * spec.head_dim,
                                       spec.attention_output_bias);
  block.mlp_norm = load_norm(prefix + "mlp_norm", spec.norm, hidden);
  block.up = load_linear(prefix + "mlp.up", spec.gated_mlp ? 2 * inner : inner, hidden, spec.mlp_bias);
  block.down = load_linear(prefix + "mlp.down", hidden, inner, spec.mlp_bias);
  return block;
}

NormWeights WeightLoader::load_head_norm() {
  return load_norm("head.norm", spec_.head.norm, spec_.head.hidden_size);
}

int64_t WeightLoader::head_tiles() const {
  return (spec_.head.vocab_size + kHeadTileRows - 1) / kHeadTileRows;
}

kernels::PackedWeight WeightLoader::load_head_tile(int64_t index) {
  const int64_t begin = index * kHeadTileRows;
  const int64_t rows = std::min(kHeadTileRows, spec_.head.vocab_size - begin);
  return load_matrix(head_matrix(spec_), begin, Shape{rows, spec_.head.hidden_size});
}

Tensor WeightLoader::load_head_bias() {
  if (!spec_.head.output_bias) return {};
  return load_vector("head.output.bias", spec_.head.vocab_size);
}

WeightUnits::WeightUnits(DeviceContext& device, const models::TransformerSpec& spec, WeightLoader& loader,
                         WeightHome home)
    : device_(device),
      loader_(loader),
      blocks_(static_cast<int64_t>(spec.blocks.size())),
      tiles_(loader.head_tiles()) {
  if (home != WeightHome::kDevice) return;
  for (int64_t i = 0; i < blocks_ + tiles_; ++i) resident_.push_back(load(i));
}

WeightUnits::~WeightUnits() {
  try {
    next_.ready.wait();
  } catch (const std::exception&) {
    // Nobody needs the unit any more, so nobody needs to know.
  }
}

WeightUnits::Unit WeightUnits::load(int64_t index) {
  if (index < blocks_) return loader_.load_block(index);
  return loader_.load_head_tile(index - blocks_);
}

void WeightUnits::fetch(int64_t index) {
  next_.index = index;
  next_.ready = device_.copy().run([this, index] { next_.unit = load(index); });
}

const WeightUnits::Unit& WeightUnits::acquire(int64_t index, int64_t next) {
  if (!resident_.empty()) return resident_.at(static_cast<size_t>(index));
  current_.unit = Unit();  // its memory is free for the next fetch
  if (next_.index != index) {
    next_.ready.wait();
    fetch(index);
  }
  const Stopwatch watch;
  next_.ready.wait();
  stall_seconds_ += watch.seconds();
  current_ = std::exchange(next_, Slot());
  fetch(next);
  return current_.unit;
}

}  // namespace aleph::infer
