#include "aleph/zero/optimizer_pipeline.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "aleph/base/clock.h"
#include "aleph/kernels/elementwise/elementwise.h"

namespace aleph::zero {

OptimizerPipeline::OptimizerPipeline(const Context& context, std::unique_ptr<Home> home,
                                     const Options& options)
    : context_(context), home_(std::move(home)), options_(options) {
  const size_t arrays = num_states() + (separate_master() ? 1 : 0);
  for (const Unit& unit : context_.units.units()) {
    std::vector<Region>& regions = regions_.emplace_back();
    const int64_t bytes = unit.shard_elements(context_.communicator.size()) * dtype_bytes(DType::kF32);
    for (size_t i = 0; i < arrays; ++i) regions.push_back(home_->reserve(bytes));
  }
}

ShardArray OptimizerPipeline::master(int unit, Access access) const {
  if (separate_master()) return {home_.get(), regions_[static_cast<size_t>(unit)][0], DType::kF32, access};
  return {&context_.parameters.home(), context_.parameters.region(unit), DType::kF32, access};
}

ShardArray OptimizerPipeline::copy_16bit(int unit) const {
  return {&context_.parameters.home(), context_.parameters.region(unit), context_.parameters.dtype(),
          Access::kWrite};
}

/// Master weights, then the states of the rule: what checkpoints hold.
std::vector<ShardArray> OptimizerPipeline::state_arrays(int unit, Access access) const {
  std::vector<ShardArray> arrays = {master(unit, access)};
  const auto& regions = regions_[static_cast<size_t>(unit)];
  for (size_t i = separate_master() ? 1 : 0; i < regions.size(); ++i) {
    arrays.push_back({home_.get(), regions[i], DType::kF32, access});
  }
  return arrays;
}

std::vector<Chunk> OptimizerPipeline::chunks() const {
  std::vector<int> all(context_.units.units().size());
  std::iota(all.begin(), all.end(), 0);
  return chunks(all);
}

std::vector<Chunk> OptimizerPipeline::chunks(std::span<const int> order) const {
  std::vector<Chunk> all;
  for (const int unit : order) {
    const int64_t shard =
        context_.units.units()[static_cast<size_t>(unit)].shard_elements(context_.communicator.size());
    for (int64_t begin = 0; begin < shard; begin += options_.chunk_elements) {
      all.push_back({unit, begin, std::min(options_.chunk_elements, shard - begin)});
    }
  }
  return all;
}

std::vector<OptimizerPipeline::PiecePart> OptimizerPipeline::parts_of(const Chunk& chunk) const {
  const Unit& unit = context_.units.units()[static_cast<size_t>(chunk.unit)];
  const int64_t origin =
      unit.shard(context_.communicator.rank(), context_.communicator.size()).begin + chunk.begin;
  std::vector<PiecePart> parts;
  for (const UnitPiece& piece : unit.pieces) {
    const Range part = intersect(piece.range(), {origin, origin + chunk.elements});
    if (part.size() > 0)
      parts.push_back({&piece, part.begin - piece.begin, part.begin - origin, part.size()});
  }
  return parts;
}

bool OptimizerPipeline::on_drive() const {
  return !context_.device.meta() &&
         (home_->tier() == MemoryTier::kNvme || context_.parameters.home().tier() == MemoryTier::kNvme);
}

void OptimizerPipeline::start(const UpdateOptions& options, std::span<const int> order) {
  ALEPH_CHECK(run_ == nullptr, "an update is under way");
  update_ = options;
  const auto arrays = [this](int unit) {
    std::vector<ShardArray> all = state_arrays(unit, Access::kReadWrite);
    const GradientStore& gradients = context_.gradients;
    all.push_back({&context_.gradients.home(), gradients.region(unit), DType::kF32, Access::kReadLate});
    if (separate_master()) all.push_back(copy_16bit(unit));
    return all;
  };
  const auto body = [this](const Chunk& chunk, std::span<const TensorView> views) {
    // Gaps between parameters stay zero; a staged 16-bit copy starts undefined.
    if (separate_master()) kernels::zero(context_.device, views.back());
    for (const PiecePart& part : parts_of(chunk)) update_part(part, views);
  };
  if (on_drive() && worker_ == nullptr) worker_ = std::make_unique<Worker>();
  run_ = std::make_unique<UpdateRun>(context_.device,
                                     ShardStreamArgs{.chunks = chunks(order), .arrays = arrays, .body = body},
                                     context_.units.units().size(), worker_.get());
}

void OptimizerPipeline::release(int unit) {
  if (run_ != nullptr) run_->release(unit);
}

void OptimizerPipeline::update_part(const PiecePart& part, std::span<const TensorView> views) const {
  const size_t states = num_states();
  std::vector<TensorView> slices;
  for (const TensorView& view : views) slices.push_back(view.slice(part.in_chunk, part.elements));
  const bool decays = options_.decay_all || part.piece->parameter->is_matrix();
  context_.rule.update(context_.device,
                       {.parameter = slices[0],
                        .states = std::span<const TensorView>(slices).subspan(1, states),
                        .gradient = slices[1 + states],
                        .parameter_16bit = separate_master() ? slices[2 + states] : TensorView(),
                        .step = update_.step,
                        .learning_rate = update_.learning_rate,
                        .weight_decay = decays ? update_.weight_decay : 0,
                        .gradient_scale = update_.gradient_scale,
                        .betas = update_.betas});
}

bool OptimizerPipeline::settled(int unit) const { return run_ == nullptr || run_->is_settled(unit); }

void OptimizerPipeline::settle(int unit) {
  if (settled(unit)) return;
  wait([&] { run_->settle(unit); });
}

void OptimizerPipeline::finish() {
  if (run_ == nullptr) return;
  wait([&] { run_->finish(); });
  run_.reset();
}

template <typename Body>
void OptimizerPipeline::wait(const Body& body) {
  const Stopwatch watch;
  body();
  seconds_ += watch.seconds();
  if (worker_ != nullptr) home_->add_stall(watch.seconds());
}

void OptimizerPipeline::load(const ParameterSource& source) {
  for (const Unit& unit : context_.units.units()) load_unit(unit, source);
}

void OptimizerPipeline::load_unit(const Unit& unit, const ParameterSource& source) {
  DeviceContext& device = context_.device;
  Tensor whole(device.memory(), {unit.elements}, DType::kF32, MemoryTag::kWorkspace);
  kernels::zero(device, whole.view());
  for (const UnitPiece& piece : unit.pieces) {
    const TensorView values = whole.view().slice(piece.begin, piece.parameter->shape.elements());
    if (!device.meta()) source(*piece.parameter, values.reshape(piece.parameter->shape));
  }
  const Range own = unit.shard(context_.communicator.rank(), context_.communicator.size());
  const TensorView shard = whole.view().slice(own.begin, own.size());
  const auto put = [](const ShardArray& array, const TensorView& view) {
    array.home->wait(array.home->write(array.region, 0, {view.raw(), static_cast<size_t>(view.bytes())}));
  };
  put(master(unit.index, Access::kWrite), shard);
  if (!separate_master()) return;
  Tensor narrow(device.memory(), shard.shape(), context_.parameters.dtype(), MemoryTag::kWorkspace);
  kernels::convert(device, shard, narrow.view());
  put(copy_16bit(unit.index), narrow.view());
}

std::vector<Engine::StatePiece> OptimizerPipeline::pieces() const {
  std::vector<std::string> arrays = {"master"};
  for (const char* name : context_.rule.state_names()) arrays.emplace_back(name);
  std::vector<Engine::StatePiece> all;
  for (const Unit& unit : context_.units.units()) {
    const Range own = unit.shard(context_.communicator.rank(), context_.communicator.size());
    for (const UnitPiece& piece : unit.pieces) {
      const Range part = intersect(piece.range(), own);
      for (const std::string& array : arrays) {
        all.push_back({.name = array + "/" + piece.parameter->name,
                       .begin = part.begin - piece.begin,
                       .elements = part.size(),
                       .whole = piece.range().size()});
      }
    }
  }
  return all;
}

/// Index in pieces() of a unit's first piece.
size_t OptimizerPipeline::first_piece(int unit) const {
  size_t pieces = 0;
  for (int u = 0; u < unit; ++u) pieces += context_.units.units()[static_cast<size_t>(u)].pieces.size();
  return pieces * (1 + num_states());
}

namespace {

/// Elements of a parameter before this rank's range: offsets of pieces count from there.
int64_t rank_begin(const UnitPiece& piece, const Range& own) {
  return std::max<int64_t>(0, intersect(piece.range(), own).begin - piece.begin);
}

}  // namespace

void OptimizerPipeline::save(const Engine::StateSink& sink) {
  const auto body = [&](const Chunk& chunk, std::span<const TensorView> views) {
    const Unit& unit = context_.units.units()[static_cast<size_t>(chunk.unit)];
    const Range own = unit.shard(context_.communicator.rank(), context_.communicator.size());
    for (const PiecePart& part : parts_of(chunk)) {
      const size_t index =
          first_piece(chunk.unit) + static_cast<size_t>(part.piece - unit.pieces.data()) * (1 + num_states());
      for (size_t array = 0; array < views.size(); ++array) {
        const ConstTensorView data = views[array].slice(part.in_chunk, part.elements);
        sink(index + array, part.in_parameter - rank_begin(*part.piece, own), data.span<float>());
      }
    }
  };
  stream_shards(context_.device, {.chunks = chunks(),
                                  .arrays = [&](int unit) { return state_arrays(unit, Access::kRead); },
                                  .body = body});
}

void OptimizerPipeline::restore(const Engine::StateSource& source) {
  const auto arrays = [&](int unit) {
    std::vector<ShardArray> all = state_arrays(unit, Access::kWrite);
    if (separate_master()) all.push_back(copy_16bit(unit));
    return all;
  };
  const auto body = [&](const Chunk& chunk, std::span<const TensorView> views) {
    const Unit& unit = context_.units.units()[static_cast<size_t>(chunk.unit)];
    const Range own = unit.shard(context_.communicator.rank(), context_.communicator.size());
    for (const TensorView& view : views) kernels::zero(context_.device, view);
    for (const PiecePart& part : parts_of(chunk)) {
      const size_t index =
          first_piece(chunk.unit) + static_cast<size_t>(part.piece - unit.pieces.data()) * (1 + num_states());
      for (size_t array = 0; array <= num_states(); ++array) {
        const TensorView data = views[array].slice(part.in_chunk, part.elements);
        source(index + array, part.in_parameter - rank_begin(*part.piece, own), data.span<float>());
      }
    }
    if (separate_master()) kernels::convert(context_.device, views[0], views.back());
  };
  stream_shards(context_.device, {.chunks = chunks(), .arrays = arrays, .body = body});
}

}  // namespace aleph::zero
