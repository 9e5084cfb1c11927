#include "aleph/zero/gradient_store.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace aleph::zero {
namespace {

std::span<std::byte> bytes_of(const TensorView& view) {
  return {view.raw(), static_cast<size_t>(view.bytes())};
}

}  // namespace

GradientStore::GradientStore(const Context& context, std::unique_ptr<Home> home, int64_t accumulation)
    : context_(context), accumulation_(accumulation), home_(std::move(home)) {
  for (const Unit& unit : context_.units.units()) {
    const int64_t shard = unit.shard_elements(context_.communicator.size());
    slots_.push_back({.region = home_->reserve(shard * dtype_bytes(DType::kF32))});
  }
}

void GradientStore::expect(const Unit& unit) {
  Slot& slot = slots_[static_cast<size_t>(unit.index)];
  if (slot.arrived == 0 || home_->address(slot.region) != nullptr || slot.previous) return;
  const bool being_written = std::any_of(writes_.begin(), writes_.end(),
                                         [&](const Write& write) { return write.unit == unit.index; });
  if (being_written) finish_writes();
  const Shape shard{unit.shard_elements(context_.communicator.size())};
  slot.previous = Tensor(context_.device.memory(), shard, DType::kF32, MemoryTag::kGradients);
  slot.previous_ticket = home_->read(slot.region, 0, bytes_of(slot.previous.view()));
}

/// The first contribution of a step needs no memory but its home, where kernels can compute there.
bool GradientStore::sums_at_home(const Slot& slot) const {
  return slot.arrived == 0 && home_->tier() == MemoryTier::kDevice && context_.communicator.size() == 1;
}

TensorView GradientStore::at_home(const Unit& unit, const Slot& slot) {
  return {home_->address(slot.region), {unit.shard_elements(context_.communicator.size())}, DType::kF32};
}

TensorView GradientStore::open(const Unit& unit) {
  Slot& slot = slots_[static_cast<size_t>(unit.index)];
  if (!sums_at_home(slot))
    slot.contribution = Tensor(context_.device.memory(), {unit.elements}, DType::kF32, MemoryTag::kGradients);
  const TensorView zeros = slot.contribution ? slot.contribution.view() : at_home(unit, slot);
  kernels::zero(context_.device, zeros);
  return zeros;
}

void GradientStore::close(const Unit& unit) {
  Slot& slot = slots_[static_cast<size_t>(unit.index)];
  Tensor gradient = std::exchange(slot.contribution, {});
  context_.communicator.reduce_scatter(gradient ? gradient.view() : at_home(unit, slot));
  const bool in_memory = home_->address(slot.region) != nullptr;
  if (in_memory) {
    if (gradient) add_in_memory(slot, shard(unit, gradient.view()));
  } else if (slot.arrived > 0) {
    home_->wait(slot.previous_ticket);
    kernels::accumulate(context_.device, slot.previous.view(), shard(unit, gradient.view()));
    slot.previous = Tensor();
  }
  ++slot.arrived;
  if (complete(unit.index)) {
    slot.square_sum = kernels::sum_of_squares(context_.device,
                                              in_memory ? at_home(unit, slot) : shard(unit, gradient.view()));
  }
  if (in_memory)
    tell(unit.index);
  else
    add_to_file(unit, slot, std::move(gradient));
}

bool GradientStore::complete(int unit) const {
  const auto index = static_cast<size_t>(unit);
  return slots_[index].arrived == context_.units.units()[index].uses * accumulation_;
}

void GradientStore::tell(int unit) const {
  if (listener_ && complete(unit)) listener_(unit);
}

TensorView GradientStore::shard(const Unit& unit, const TensorView& whole) const {
  const int64_t n = unit.shard_elements(context_.communicator.size());
  return whole.slice(context_.communicator.rank() * n, n);
}

void GradientStore::add_in_memory(Slot& slot, const TensorView& own) {
  const TensorView sum(home_->address(slot.region), own.shape(), DType::kF32);
  if (slot.arrived == 0) {
    kernels::convert(context_.device, own, sum);
  } else {
    kernels::accumulate(context_.device, own, sum);
  }
}

/// One write is under way while the next unit computes its gradient.
void GradientStore::add_to_file(const Unit& unit, Slot& slot, Tensor gradient) {
  finish_writes();
  const TensorView own = shard(unit, gradient.view());
  const Ticket ticket = home_->write(slot.region, 0, bytes_of(own));
  writes_.push_back({.unit = unit.index, .gradient = std::move(gradient), .ticket = ticket});
}

void GradientStore::finish_writes() {
  while (!writes_.empty()) {
    home_->wait(writes_.front().ticket);
    const int unit = writes_.front().unit;
    writes_.pop_front();
    tell(unit);
  }
}

kernels::SquareSum GradientStore::square_sum() {
  kernels::SquareSum total;
  for (const Slot& slot : slots_) {
    total.sum += slot.square_sum.sum;
    total.non_finite += slot.square_sum.non_finite;
  }
  total.sum = context_.communicator.all_reduce_sum(total.sum);
  total.non_finite =
      static_cast<int64_t>(context_.communicator.all_reduce_sum(static_cast<double>(total.non_finite)));
  return total;
}

std::string GradientStore::first_non_finite() {
  settle();
  for (const Unit& unit : context_.units.units()) {
    const Slot& slot = slots_[static_cast<size_t>(unit.index)];
    if (slot.square_sum.non_finite == 0) continue;
    const Range own = unit.shard(context_.communicator.rank(), context_.communicator.size());
    Tensor values(context_.device.memory(), {own.size()}, DType::kF32, MemoryTag::kGradients);
    home_->wait(home_->read(slot.region, 0, bytes_of(values.view())));
    const auto all = values.view().span<float>();
    for (const UnitPiece& piece : unit.pieces) {
      const Range part = intersect(piece.range(), own);
      const auto inside = all.subspan(static_cast<size_t>(part.size() > 0 ? part.begin - own.begin : 0),
                                      static_cast<size_t>(part.size()));
      if (std::any_of(inside.begin(), inside.end(), [](float x) { return !std::isfinite(x); })) {
        return piece.parameter->name;
      }
    }
  }
  return {};
}

void GradientStore::settle() { finish_writes(); }

void GradientStore::end_step() {
  settle();
  for (Slot& slot : slots_) {
    ALEPH_CHECK(!slot.previous);
    slot.arrived = 0;
  }
}

}  // namespace aleph::zero
