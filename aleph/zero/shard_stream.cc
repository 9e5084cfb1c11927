#include "aleph/zero/shard_stream.h"

#include <algorithm>
#include <utility>

namespace aleph::zero {
namespace {

bool reads(Access access) { return access == Access::kRead || access == Access::kReadWrite; }
bool writes(Access access) { return access == Access::kWrite || access == Access::kReadWrite; }

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
}

ShardStream::~ShardStream() {
  for (Slot& slot : slots_) {
    for (const Move& move : slot.moves) {
      try {
        move.home->finish(move.ticket);
      } catch (const std::exception&) {  // the failure that ended the stream is the one to be told
      }
    }
  }
}

void ShardStream::run() {
  while (settled_ < args_.chunks.size()) {
    read_ahead();
    if (computed_ < late_) {
      compute_next();
    } else if (settled_ < computed_) {
      settle_oldest();
    } else {
      args_.gate->await(args_.chunks[computed_].unit);
    }
    settle_written();
  }
}

bool ShardStream::complete(size_t k) const {
  return args_.gate == nullptr || args_.gate->complete(args_.chunks[k].unit);
}

void ShardStream::read_ahead() {
  const size_t end = std::min(args_.chunks.size(), settled_ + kInFlight);
  for (; read_ < end; ++read_) start_read(read_);
  for (; late_ < read_ && complete(late_); ++late_) start_late_read(late_);
}

void ShardStream::start_read(size_t k) {
  Slot& slot = this->slot(k);
  slot.views.clear();
  for_each_array(k, [&](const ShardArray& array, size_t i, int64_t offset, size_t bytes) {
    std::byte* data = slot.buffers[i] ? slot.buffers[i].data() : array.home->address(array.region) + offset;
    slot.views.emplace_back(data, Shape{args_.chunks[k].elements}, array.dtype);
    if (!slot.buffers[i] || !reads(array.access)) return;
    slot.moves.push_back(
        {array.home, array.home->read(array.region, offset, {data, bytes}, io::Priority::kBackground)});
  });
}

void ShardStream::start_late_read(size_t k) {
  Slot& slot = this->slot(k);
  for_each_array(k, [&](const ShardArray& array, size_t i, int64_t offset, size_t bytes) {
    if (!slot.buffers[i] || array.access != Access::kReadLate) return;
    slot.moves.push_back({array.home, array.home->read(array.region, offset, {slot.buffers[i].data(), bytes},
                                                       io::Priority::kBackground)});
  });
}

void ShardStream::compute_next() {
  Slot& slot = this->slot(computed_);
  finish(slot);
  args_.body(args_.chunks[computed_], slot.views);
  start_write(computed_);
  ++computed_;
}

void ShardStream::start_write(size_t k) {
  Slot& slot = this->slot(k);
  for_each_array(k, [&](const ShardArray& array, size_t i, int64_t offset, size_t bytes) {
    if (!slot.buffers[i] || !writes(array.access)) return;
    slot.moves.push_back({array.home, array.home->write(array.region, offset, {slot.buffers[i].data(), bytes},
                                                        io::Priority::kBackground)});
  });
}

void ShardStream::settle_written() {
  while (settled_ < computed_ && done(slot(settled_))) settle_oldest();
}

void ShardStream::settle_oldest() {
  finish(slot(settled_));
  const int unit = args_.chunks[settled_].unit;
  ++settled_;
  const bool last = settled_ == args_.chunks.size() || args_.chunks[settled_].unit != unit;
  if (last && args_.gate != nullptr) args_.gate->settled(unit);
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

bool ShardStream::done(const Slot& slot) {
  return std::all_of(slot.moves.begin(), slot.moves.end(),
                     [](const Move& move) { return move.home->done(move.ticket); });
}

void ShardStream::finish(Slot& slot) {
  for (const Move& move : slot.moves) move.home->finish(move.ticket);
  slot.moves.clear();
}

void stream_shards(DeviceContext& device, ShardStreamArgs args) {
  ShardStream(device, std::move(args)).run();
}

}  // namespace aleph::zero
