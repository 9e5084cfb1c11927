#include "aleph/zero/activation_store.h"

namespace aleph::zero {
namespace {

constexpr int64_t kPage = io::kDirectAlignment;

/// Bytes moved: whole pages, which pool buffers of at least a page have.
int64_t moved_bytes(int64_t bytes) { return bytes >= kPage ? (bytes + kPage - 1) / kPage * kPage : bytes; }

}  // namespace

void ActivationStore::store(int block, const std::vector<autograd::Variable>& variables) {
  if (!home_) return;
  finish_writes();  // those of the block before: one block's values are under way while the next computes
  std::vector<Away>& away = away_[block];
  for (const autograd::Variable& variable : variables) {
    if (!variable.has_value()) continue;
    Tensor value = variable.take_value();
    const int64_t bytes = moved_bytes(value.bytes());
    const Region& home_region = region(block, away.size(), bytes);
    const Ticket ticket = home_->write(home_region, 0, {value.view().raw(), static_cast<size_t>(bytes)});
    writes_.push_back({std::move(value), ticket});
    away.push_back({.variable = variable, .region = home_region});
  }
}

void ActivationStore::prefetch(int block) {
  const auto found = away_.find(block);
  if (found == away_.end()) return;
  finish_writes();
  for (Away& away : found->second) {
    if (away.value) continue;
    away.value =
        Tensor(device_.memory(), away.variable.shape(), away.variable.dtype(), MemoryTag::kActivations);
    const auto bytes = static_cast<size_t>(moved_bytes(away.value.bytes()));
    away.ticket = home_->read(away.region, 0, {away.value.view().raw(), bytes});
  }
}

void ActivationStore::restore(int block) {
  const auto found = away_.find(block);
  if (found == away_.end()) return;
  prefetch(block);
  for (Away& away : found->second) {
    home_->wait(away.ticket);
    away.variable.restore_value(std::move(away.value));
  }
  away_.erase(found);
}

const Region& ActivationStore::region(int block, size_t index, int64_t bytes) {
  const auto key = std::pair(block, index);
  const auto found = regions_.find(key);
  if (found != regions_.end() && found->second.bytes >= bytes) return found->second;
  return regions_[key] = home_->reserve(bytes);
}

void ActivationStore::finish_writes() {
  while (!writes_.empty()) {
    home_->wait(writes_.front().ticket);
    writes_.pop_front();
  }
}

}  // namespace aleph::zero
