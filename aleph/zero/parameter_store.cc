#include "aleph/zero/parameter_store.h"

#include <algorithm>
#include <utility>

namespace aleph::zero {

using autograd::Parameter;
using autograd::PinMode;

ShardedParameterStore::ShardedParameterStore(const Context& context, std::unique_ptr<Home> home, DType dtype,
                                             int prefetch)
    : context_(context), dtype_(dtype), prefetch_(prefetch), home_(std::move(home)) {
  for (const Unit& unit : context_.units.units()) {
    const int64_t shard = unit.shard_elements(context_.communicator.size());
    slots_.push_back({.region = home_->reserve(shard * dtype_bytes(dtype_))});
  }
}

void ShardedParameterStore::begin(std::vector<Use> schedule) {
  schedule_ = std::move(schedule);
  next_use_ = 0;
  prefetch();
}

void ShardedParameterStore::end() {
  for (const Unit& unit : context_.units.units()) {
    if (!used_soon(unit.index)) release(unit.index);
  }
  schedule_.clear();
  next_use_ = 0;
}

void ShardedParameterStore::pin(std::span<Parameter* const> parameters, PinMode mode) {
  const std::vector<int> units = context_.units.units_of(parameters);
  if (mode != PinMode::kValue) {
    for (const int unit : units) context_.gradients.expect(unit_of(unit));
  }
  if (mode != PinMode::kGradient) {
    for (const int unit : units) start_gather(unit);
    for (const int unit : units) finish_gather(unit);
  }
  if (next_use_ < schedule_.size()) ++next_use_;
  prefetch();
  expect_next();
  if (mode != PinMode::kValue) {
    for (const int unit : units) {
      slots_[static_cast<size_t>(unit)].gradient = context_.gradients.open(unit_of(unit));
    }
  }
  for (Parameter* parameter : parameters) bind(*parameter, mode);
}

void ShardedParameterStore::unpin(std::span<Parameter* const> parameters, PinMode mode) {
  for (Parameter* parameter : parameters) parameter->value = parameter->gradient = TensorView();
  std::vector<int> units = context_.units.units_of(parameters);
  for (const int unit : units) {
    if (!used_soon(unit)) release(unit);
  }
  if (mode == PinMode::kValue) return;
  // The largest comes last: its way home has the time until the next gradient is complete.
  std::stable_sort(units.begin(), units.end(),
                   [this](int a, int b) { return unit_of(a).elements < unit_of(b).elements; });
  for (const int unit : units) context_.gradients.close(unit_of(unit));
}

const Unit& ShardedParameterStore::unit_of(int unit) const {
  return context_.units.units()[static_cast<size_t>(unit)];
}

bool ShardedParameterStore::in_place() const {
  return home_->tier() == MemoryTier::kDevice && context_.communicator.size() == 1;
}

void ShardedParameterStore::start_gather(int unit) {
  Slot& slot = slots_[static_cast<size_t>(unit)];
  if (slot.gathering || slot.ready) return;
  if (updates_ != nullptr) updates_->settle(unit);
  if (in_place()) return;
  const Unit& shape = unit_of(unit);
  slot.gathered = Tensor(context_.device.memory(), {shape.elements}, dtype_, MemoryTag::kParameters);
  const int64_t shard_bytes = shape.shard_elements(context_.communicator.size()) * dtype_bytes(dtype_);
  std::byte* own = slot.gathered.view().raw() + context_.communicator.rank() * shard_bytes;
  slot.arriving = home_->read(slot.region, 0, {own, static_cast<size_t>(shard_bytes)});
  slot.gathering = true;
}

void ShardedParameterStore::finish_gather(int unit) {
  Slot& slot = slots_[static_cast<size_t>(unit)];
  if (slot.ready || in_place()) return;
  home_->wait(slot.arriving);
  context_.communicator.all_gather(slot.gathered.view());
  slot.arriving = {};
  slot.gathering = false;
  slot.ready = true;
}

void ShardedParameterStore::release(int unit) {
  Slot& slot = slots_[static_cast<size_t>(unit)];
  if (slot.gathering) home_->wait(slot.arriving);
  slot.arriving = {};
  slot.gathering = slot.ready = false;
  slot.gathered = Tensor();
}

bool ShardedParameterStore::used_soon(int unit) const {
  const size_t horizon = std::min(schedule_.size(), next_use_ + static_cast<size_t>(prefetch_));
  for (size_t use = next_use_; use < horizon; ++use) {
    const std::vector<int>& values = schedule_[use].values;
    if (std::find(values.begin(), values.end(), unit) != values.end()) return true;
  }
  return false;
}

void ShardedParameterStore::prefetch() {
  const size_t horizon = std::min(schedule_.size(), next_use_ + static_cast<size_t>(prefetch_));
  for (size_t use = next_use_; use < horizon; ++use) {
    for (const int unit : schedule_[use].values) {
      if (settled(unit)) start_gather(unit);
    }
  }
}

/// One pin ahead is enough for a block's own gradient, and as much memory as one more of them.
void ShardedParameterStore::expect_next() {
  if (prefetch_ == 0 || next_use_ == schedule_.size()) return;
  for (const int unit : schedule_[next_use_].gradients) context_.gradients.expect(unit_of(unit));
}

TensorView ShardedParameterStore::unit_values(int unit) {
  Slot& slot = slots_[static_cast<size_t>(unit)];
  if (!in_place()) return slot.gathered.view();
  return {home_->address(slot.region), {unit_of(unit).elements}, dtype_};
}

void ShardedParameterStore::bind(Parameter& parameter, PinMode mode) {
  const Unit& unit = context_.units.unit_of(&parameter);
  const auto piece = std::find_if(unit.pieces.begin(), unit.pieces.end(),
                                  [&](const UnitPiece& p) { return p.parameter == &parameter; });
  const int64_t elements = parameter.shape.elements();
  if (mode != PinMode::kGradient) {
    parameter.value = unit_values(unit.index).slice(piece->begin, elements).reshape(parameter.shape);
  }
  if (mode != PinMode::kValue) {
    parameter.gradient = slots_[static_cast<size_t>(unit.index)]
                             .gradient.slice(piece->begin, elements)
                             .reshape(parameter.shape);
  }
}

}  // namespace aleph::zero
