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

/// What a stream does with an array. kReadLate: read like kRead, but only once StreamGate::complete.
enum class Access : uint8_t { kRead, kReadLate, kWrite, kReadWrite };

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

/// What a stream waits for, and whom it tells, unit by unit.
class StreamGate {
 public:
  virtual ~StreamGate() = default;
  /// Whether the arrays of `unit` with access kReadLate are at home.
  virtual bool complete(int unit) = 0;
  /// Returns when complete(unit) may have become true. Called when nothing else is left to do.
  virtual void await(int unit) = 0;
  /// All of `unit` is computed and at home.
  virtual void settled(int unit) = 0;
};

struct ShardStreamArgs {
  std::vector<Chunk> chunks;  ///< in the order of computation; those of one unit side by side
  /// The arrays of a unit, the same number and dtypes for every unit.
  std::function<std::vector<ShardArray>(int unit)> arrays;
  /// Called for every chunk in order with one view [elements] per array.
  std::function<void(const Chunk& chunk, std::span<const TensorView> views)> body;
  StreamGate* gate = nullptr;  ///< optional; without one everything is complete
};

/// Buffers for kInFlight chunks per staged array come from host memory (tag io_buffers) when the stream is
/// made; run() may then be called on another thread.
class ShardStream {
 public:
  ShardStream(DeviceContext& device, ShardStreamArgs args);
  /// Returns when no transfer uses the buffers any more, also after a failure.
  ~ShardStream();
  ShardStream(const ShardStream&) = delete;
  ShardStream& operator=(const ShardStream&) = delete;

  /// Returns when everything is computed and at home.
  void run();

 private:
  // One is computed, a few are being written, the others are read ahead.
  static constexpr size_t kInFlight = 8;

  struct Move {
    Home* home;
    Ticket ticket;
  };
  struct Slot {
    std::vector<Buffer> buffers;  // one per array, empty where it is used in place
    std::vector<TensorView> views;
    std::vector<Move> moves;
  };

  Slot& slot(size_t k) { return slots_[k % kInFlight]; }
  bool complete(size_t k) const;
  void read_ahead();
  void start_read(size_t k);
  void start_late_read(size_t k);
  void compute_next();
  void start_write(size_t k);
  void settle_written();
  void settle_oldest();
  template <typename Body>
  void for_each_array(size_t k, const Body& body);
  static bool done(const Slot& slot);
  static void finish(Slot& slot);

  ShardStreamArgs args_;
  std::array<Slot, kInFlight> slots_;
  // Counts of chunks, settled_ <= computed_ <= late_ <= read_: at home again, computed, read or being read
  // with all arrays, the same without those that come late.
  size_t settled_ = 0, computed_ = 0, late_ = 0, read_ = 0;
};

/// A whole stream, on this thread.
void stream_shards(DeviceContext& device, ShardStreamArgs args);

}  // namespace aleph::zero
