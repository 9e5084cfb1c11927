#include "aleph/zero/shard_stream.h"

#include <algorithm>
#include <array>
#include <utility>

namespace aleph::zero {
namespace {

constexpr size_t kInFlight = 3;

bool reads(Access access) { return access != Access::kWrite; }
bool writes(Access access) { return access != Access::kRead; }

class ShardStream {
 public:
  ShardStream(DeviceContext& device, const ShardStreamArgs& args) : args_(args) {
    int64_t largest = 0;
    for (const Chunk& chunk : args.chunks) largest = std::max(largest, chunk.elements);
    const std::vector<ShardArray> arrays = args.arrays(args.chunks.front().unit);
    for (Slot& slot : slots_) {
      for (const ShardArray& array : arrays) {
        const bool staged = array.home->address(array.region) == nullptr;
        slot.buffers.push_back(
            staged ? device.host_memory().allocate(largest * dtype_bytes(array.dtype), MemoryTag::kIoBuffers)
                   : Buffer());
      }
    }
  }

  void run() {
    start_read(0);
    for (size_t k = 0; k < args_.chunks.size(); ++k) {
      if (k + 1 < args_.chunks.size()) start_read(k + 1);
      Slot& slot = slots_[k % kInFlight];
      wait(slot);
      args_.body(args_.chunks[k], slot.views);
      start_write(k);
    }
    for (Slot& slot : slots_) wait(slot);
  }

 private:
  struct Move {
    Home* home;
    Ticket ticket;
  };
  struct Slot {
    std::vector<Buffer> buffers;  // one per array, empty where it is used in place
    std::vector<TensorView> views;
    std::vector<Move> moves;
  };

  void start_read(size_t k) {
    Slot& slot = slots_[k % kInFlight];
    wait(slot);  // its last chunk is written
    slot.views.clear();
    for_each_array(k, [&](const ShardArray& array, size_t i, int64_t offset, size_t bytes) {
      std::byte* data = slot.buffers[i] ? slot.buffers[i].data() : array.home->address(array.region) + offset;
      slot.views.emplace_back(data, Shape{args_.chunks[k].elements}, array.dtype);
      if (slot.buffers[i] && reads(array.access)) {
        slot.moves.push_back({array.home, array.home->read(array.region, offset, {data, bytes})});
      }
    });
  }

  void start_write(size_t k) {
    Slot& slot = slots_[k % kInFlight];
    for_each_array(k, [&](const ShardArray& array, size_t i, int64_t offset, size_t bytes) {
      if (!slot.buffers[i] || !writes(array.access)) return;
      slot.moves.push_back(
          {array.home, array.home->write(array.region, offset, {slot.buffers[i].data(), bytes})});
    });
  }

  template <typename Body>
  void for_each_array(size_t k, const Body& body) {
    const Chunk& chunk = args_.chunks[k];
    const std::vector<ShardArray> arrays = args_.arrays(chunk.unit);
    for (size_t i = 0; i < arrays.size(); ++i) {
      const int64_t size = dtype_bytes(arrays[i].dtype);
      body(arrays[i], i, chunk.begin * size, static_cast<size_t>(chunk.elements * size));
    }
  }

  static void wait(Slot& slot) {
    for (const Move& move : slot.moves) move.home->wait(move.ticket);
    slot.moves.clear();
  }

  const ShardStreamArgs& args_;
  std::array<Slot, kInFlight> slots_;
};

}  // namespace

void stream_shards(DeviceContext& device, const ShardStreamArgs& args) {
  if (!args.chunks.empty()) ShardStream(device, args).run();
}

}  // namespace aleph::zero
