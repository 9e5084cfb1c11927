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

}  // namespace

const char* weight_home_flag(WeightHome home) {
  if (home == WeightHome::kDevice) return "none";
  return home == WeightHome::kHost ? "cpu" : "nvme";
}

WeightLoader::WeightLoader(DeviceContext& device, const models::TransformerSpec& spec,
                           const models::ParameterReader* reader, DType stored, WeightHome home)
    : device_(device), spec_(spec), reader_(reader), stored_(stored), home_(home) {
  ALEPH_CHECK(reader != nullptr || device.meta());
  if (home == WeightHome::kHost) keep_on_host();
}

void WeightLoader::keep_on_host() {
  for (const models::NamedShape& parameter : unit_parameters(spec_)) {
    const int64_t all = parameter.shape[0], step = piece_rows(spec_, parameter);
    for (int64_t row = 0; row < all; row += step) {
      const Shape shape = piece_shape(parameter.shape, std::min(step, all - row));
      host_copies_.emplace(std::pair(parameter.name, row), host_copy(parameter.name, row, shape));
    }
  }
}

Tensor WeightLoader::host_copy(const std::string& name, int64_t row_begin, const Shape& shape) {
  if (!keeps_packed(shape)) return read_rows(name, row_begin, shape);
  const kernels::PackedWeight packed = pack_rows(name, row_begin, shape);
  const ConstTensorView storage = packed.storage();
  Tensor copy(device_.host_memory(), storage.shape(), storage.dtype(), MemoryTag::kParameters);
  kernels::convert(device_, storage, copy.view());
  return copy;
}

Tensor WeightLoader::read_rows(const std::string& name, int64_t row_begin, const Shape& shape) {
  Tensor rows(device_.host_memory(), shape, stored_, MemoryTag::kParameters);
  if (device_.meta()) return rows;
  reader_->read_rows(name, row_begin, rows.view());
  reader_->release(name);
  return rows;
}

kernels::PackedWeight WeightLoader::pack_rows(const std::string& name, int64_t row_begin,
                                              const Shape& shape) {
  const auto read = [&](int64_t row, const TensorView& dst) {
    reader_->read_rows(name, row_begin + row, dst);
  };
  kernels::PackedWeight weight(
      device_, kernels::WeightRows{.n = shape[0], .k = shape[1], .dtype = stored_, .read = read});
  if (!device_.meta()) reader_->release(name);
  return weight;
}

Tensor WeightLoader::load_vector(const std::string& name, int64_t n) {
  const auto kept = host_copies_.find({name, 0});
  const Tensor read = kept == host_copies_.end() ? read_rows(name, 0, Shape{n}) : Tensor();
  Tensor vector(device_.memory(), Shape{n}, compute_dtype(stored_), MemoryTag::kParameters);
  kernels::convert(device_, read ? read.view() : std::as_const(kept->second).view(), vector.view());
  return vector;
}

kernels::PackedWeight WeightLoader::load_matrix(const std::string& name, int64_t row_begin,
                                                const Shape& shape) {
  const auto kept = host_copies_.find({name, row_begin});
  if (kept == host_copies_.end()) return pack_rows(name, row_begin, shape);
  const ConstTensorView copy = std::as_const(kept->second).view();
  if (!keeps_packed(shape)) return kernels::PackedWeight(device_, copy);
  return kernels::PackedWeight::from_storage(device_, copy, shape[0], shape[1]);
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
