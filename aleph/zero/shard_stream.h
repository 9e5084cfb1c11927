// Flat shards streamed through memory in chunks: later chunks are read and earlier ones written while one is
// computed. Arrays that lie in addressable memory are used in place.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "aleph/tensor/tensor.h"
#include "aleph/zero/home.h"

namespace aleph::zero {

enum class Access : uint8_t { kRead, kWrite, kReadWrite };

/// One array of a shard.
struct ShardArray {
  Home* home = nullptr;
  Region region;
  DType dtype = DType::kF32;
  Access access = Access::kReadWrite;
};

/// A chunk of a unit's shard: elements [begin, begin + elements).
struct Chunk {
  int unit = 0;
  int64_t begin = 0;
  int64_t elements = 0;
};

struct ShardStreamArgs {
  std::vector<Chunk> chunks;  ///< by ascending unit
  /// The arrays of a unit, the same number and dtypes for every unit.
  std::function<std::vector<ShardArray>(int unit)> arrays;
  /// Called for every chunk in order with one view [elements] per array.
  std::function<void(const Chunk& chunk, std::span<const TensorView> views)> body;
};

/// A stream that goes on as far as it is asked to, so that reading and writing hide behind what happens in
/// between. Buffers for kInFlight chunks per staged array come from host memory (tag io_buffers).
class ShardStream {
 public:
  /// Starts to read.
  ShardStream(DeviceContext& device, ShardStreamArgs args);

  /// Computes all chunks of the units up to and including `unit` that are not computed yet.
  void advance(int unit);
  /// Returns when what advance computed for `unit` is at home.
  void settle(int unit);
  /// Computes the rest and returns when everything is at home.
  void finish();

 private:
  // One is computed, the one before is written, the others are read ahead.
  static constexpr size_t kInFlight = 8;

  struct Move {
    Home* home;
    Ticket ticket;
  };
  struct Slot {
    std::vector<Buffer> buffers;  // one per array, empty where it is used in place
    std::vector<TensorView> views;
    std::vector<Move> moves;
    int unit = -1;  // of the chunk it holds
  };

  void compute_next();
  void read_ahead();
  void start_read(size_t k);
  void start_write(size_t k);
  template <typename Body>
  void for_each_array(size_t k, const Body& body);
  static void wait(Slot& slot);

  ShardStreamArgs args_;
  std::array<Slot, kInFlight> slots_;
  size_t computed_ = 0;  // chunks before this one are computed
  size_t read_ = 0;      // chunks before this one are read or being read
};

/// The whole stream at once.
void stream_shards(DeviceContext& device, ShardStreamArgs args);

}  // namespace aleph::zero
