#include "aleph/zero/partition.h"

#include <algorithm>

#include "aleph/base/round_up.h"

namespace aleph::zero {
namespace {

constexpr int64_t kParameterAlignment = 64;

/// How many blocks use each parameter.
std::map<const autograd::Parameter*, int64_t> count_uses(const nn::Model& model) {
  std::map<const autograd::Parameter*, int64_t> uses;
  for (const auto& block : model.blocks()) {
    for (const autograd::Parameter* parameter : block->parameters()) ++uses[parameter];
  }
  return uses;
}

void append(Unit& unit, autograd::Parameter* parameter) {
  unit.pieces.push_back({parameter, unit.elements});
  unit.elements = round_up(unit.elements + parameter->shape.elements(), kParameterAlignment);
}

}  // namespace

Range intersect(const Range& a, const Range& b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

UnitTable::UnitTable(const nn::Model& model, int world_size) : world_size_(world_size) {
  const auto uses = count_uses(model);
  const auto place = [&](Unit unit) {
    if (unit.pieces.empty()) return;
    unit.index = static_cast<int>(units_.size());
    unit.elements = round_up(unit.elements, kShardAlignment * world_size);
    for (const UnitPiece& piece : unit.pieces) unit_of_[piece.parameter] = unit.index;
    units_.push_back(std::move(unit));
  };
  for (const auto& block : model.blocks()) {
    Unit own{.uses = 1};
    for (autograd::Parameter* parameter : block->parameters()) {
      if (unit_of_.contains(parameter)) continue;
      const int64_t shared = uses.at(parameter);
      if (shared == 1) {
        append(own, parameter);
        continue;
      }
      Unit alone{.uses = shared};
      append(alone, parameter);
      place(std::move(alone));
    }
    place(std::move(own));
  }
}

const Unit& UnitTable::unit_of(const autograd::Parameter* parameter) const {
  return units_[static_cast<size_t>(unit_of_.at(parameter))];
}

std::vector<int> UnitTable::units_of(std::span<autograd::Parameter* const> parameters) const {
  std::vector<int> found;
  for (const autograd::Parameter* parameter : parameters) {
    const int unit = unit_of_.at(parameter);
    if (std::find(found.begin(), found.end(), unit) == found.end()) found.push_back(unit);
  }
  return found;
}

}  // namespace aleph::zero
