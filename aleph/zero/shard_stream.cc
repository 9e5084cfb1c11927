#include "aleph/zero/shard_stream.h"

#include <algorithm>
#include <utility>

namespace aleph::zero {
namespace {

bool reads(Access access) { return access != Access::kWrite; }
bool writes(Access access) { return access != Access::kRead; }

}  // namespace

ShardStream::ShardStream(DeviceContext& device, ShardStreamArgs args) : args_(std::move(args)) {
  if (args_.chunks.empty()) return;
  int64_t largest = 0;
  for (const Chunk& chunk : args_.chunks) largest = std::max(largest, chunk.elements);
  const std::vector<ShardArray> arrays = args_.arrays(args_.chunks.front().unit);
  for (Slot& slot : slots_) {
    for (const ShardArray& array : arrays) {
      const bool staged = array.home->address(array.region) == nullptr;
      const int64_t bytes = staged ? largest * dtype_bytes(array.dtype) : 0;
      slot.buffers.push_back(device.host_memory().allocate(bytes, MemoryTag::kIoBuffers));
    }
  }
  read_ahead();
}

void ShardStream::advance(int unit) {
  while (computed_ < args_.chunks.size() && args_.chunks[computed_].unit <= unit) compute_next();
}

void ShardStream::settle(int unit) {
  for (Slot& slot : slots_) {
    if (slot.unit == unit) wait(slot);
  }
}

void ShardStream::finish() {
  while (computed_ < args_.chunks.size()) compute_next();
  for (Slot& slot : slots_) wait(slot);
}

void ShardStream::compute_next() {
  Slot& slot = slots_[computed_ % kInFlight];
  wait(slot);
  args_.body(args_.chunks[computed_], slot.views);
  start_write(computed_);
  ++computed_;
  read_ahead();
}

/// The slot that is filled next was computed two chunks ago: its write has had the time of one chunk.
void ShardStream::read_ahead() {
  const size_t end = std::min(args_.chunks.size(), computed_ + kInFlight - 1);
  for (; read_ < end; ++read_) start_read(read_);
}

void ShardStream::start_read(size_t k) {
  Slot& slot = slots_[k % kInFlight];
  wait(slot);
  slot.views.clear();
  slot.unit = args_.chunks[k].unit;
  for_each_array(k, [&](const ShardArray& array, size_t i, int64_t offset, size_t bytes) {
    std::byte* data = slot.buffers[i] ? slot.buffers[i].data() : array.home->address(array.region) + offset;
    slot.views.emplace_back(data, Shape{args_.chunks[k].elements}, array.dtype);
    if (slot.buffers[i] && reads(array.access)) {
      slot.moves.push_back({array.home, array.home->read(array.region, offset, {data, bytes})});
    }
  });
}

void ShardStream::start_write(size_t k) {
  Slot& slot = slots_[k % kInFlight];
  for_each_array(k, [&](const ShardArray& array, size_t i, int64_t offset, size_t bytes) {
    if (!slot.buffers[i] || !writes(array.access)) return;
    slot.moves.push_back(
        {array.home, array.home->write(array.region, offset, {slot.buffers[i].data(), bytes})});
  });
}

template <typename Body>
void ShardStream::for_each_array(size_t k, const Body& body) {
  const Chunk& chunk = args_.chunks[k];
  const std::vector<ShardArray> arrays = args_.arrays(chunk.unit);
  for (size_t i = 0; i < arrays.size(); ++i) {
    const int64_t size = dtype_bytes(arrays[i].dtype);
    body(arrays[i], i, chunk.begin * size, static_cast<size_t>(chunk.elements * size));
  }
}

void ShardStream::wait(Slot& slot) {
  for (const Move& move : slot.moves) move.home->wait(move.ticket);
  slot.moves.clear();
}

void stream_shards(DeviceContext& device, ShardStreamArgs args) {
  ShardStream(device, std::move(args)).finish();
}

}  // namespace aleph::zero
