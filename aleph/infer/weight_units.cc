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

/// Rows of a parameter that are brought at once: all, or a tile of the head.
int64_t piece_rows(const models::TransformerSpec& spec, const models::NamedShape& parameter) {
  const int64_t rows = parameter.shape[0];
  return parameter.name == head_matrix(spec) ? std::min(rows, WeightLoader::kHeadTileRows) : rows;
}

/// The shape of `rows` rows of a matrix or elements of a vector.
Shape piece_shape(const Shape& shape, int64_t rows) {
  return shape.rank() == 1 ? Shape{rows} : Shape{rows, shape[1]};
}

int64_t largest_piece(const models::TransformerSpec& spec) {
  int64_t largest = 0;
  for (const models::NamedShape& parameter : unit_parameters(spec))
    largest = std::max(largest, piece_shape(parameter.shape, piece_rows(spec, parameter)).elements());
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
  staging_ = Tensor(device.host_memory(), piece, stored, MemoryTag::kIoBuffers);
  if (stored != compute_dtype(stored))
    widening_ = Tensor(device.host_memory(), piece, compute_dtype(stored), MemoryTag::kIoBuffers);
  if (home == WeightHome::kHost) keep_on_host();
}

void WeightLoader::keep_on_host() {
  for (const models::NamedShape& parameter : unit_parameters(spec_)) {
    const int64_t all = parameter.shape[0], step = piece_rows(spec_, parameter);
    for (int64_t row = 0; row < all; row += step) {
      const Shape shape = piece_shape(parameter.shape, std::min(step, all - row));
      host_copies_.emplace(std::pair(parameter.name, row), host_copy(parameter.name, row, shape));
    }
    if (!device_.meta()) reader_->release(parameter.name);
  }
  staging_ = Tensor();
}

Tensor WeightLoader::host_copy(const std::string& name, int64_t row_begin, const Shape& shape) {
  const ConstTensorView plain = stored_rows(name, row_begin, shape);
  const kernels::PackedWeight packed =
      keeps_packed(shape) ? kernels::PackedWeight(device_, plain) : kernels::PackedWeight();
  const ConstTensorView kept = packed ? packed.storage() : plain;
  Tensor copy(device_.host_memory(), kept.shape(), kept.dtype(), MemoryTag::kParameters);
  kernels::convert(device_, kept, copy.view());
  return copy;
}

ConstTensorView WeightLoader::stored_rows(const std::string& name, int64_t row_begin, const Shape& shape) {
  const auto kept = host_copies_.find({name, row_begin});
  if (kept != host_copies_.end()) return std::as_const(kept->second).view();
  const TensorView staged(staging_.view().raw(), shape, stored_);
  if (device_.meta()) return staged;
  reader_->read_rows(name, row_begin, staged);
  if (home_ == WeightHome::kNvme) reader_->release(name);
  return staged;
}

ConstTensorView WeightLoader::rows(const std::string& name, int64_t row_begin, const Shape& shape) {
  const ConstTensorView stored = stored_rows(name, row_begin, shape);
  if (!widening_) return stored;
  const TensorView wide(widening_.view().raw(), shape, widening_.dtype());
  kernels::convert(device_, stored, wide);
  return wide;
}

Tensor WeightLoader::load_vector(const std::string& name, int64_t n) {
  Tensor vector(device_.memory(), Shape{n}, compute_dtype(stored_), MemoryTag::kParameters);
  kernels::convert(device_, rows(name, 0, Shape{n}), vector.view());
  return vector;
}

kernels::PackedWeight WeightLoader::load_matrix(const std::string& name, int64_t row_begin,
                                                const Shape& shape) {
  if (home_ == WeightHome::kHost && keeps_packed(shape))
    return kernels::PackedWeight::from_storage(device_, stored_rows(name, row_begin, shape), shape[0],
                                               shape[1]);
  return kernels::PackedWeight(device_, rows(name, row_begin, shape));
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
  if (home_ != WeightHome::kHost && !device_.meta())
    for (const models::NamedShape& parameter : models::block_shapes(spec_, index))
      reader_->prefetch(parameter.name);
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
