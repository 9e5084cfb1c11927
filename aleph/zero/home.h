// Where one kind of model state lives: device memory, host memory or NVMe. A home hands out fixed regions and
// moves byte ranges of them; every move returns a ticket, every completion is checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "aleph/io/async_queue.h"
#include "aleph/tensor/device.h"

namespace aleph::zero {

enum class StateKind : uint8_t { kParameters, kGradients, kOptimizer, kActivations };
inline constexpr size_t kStateKinds = 4;
/// "parameters", "gradients", "optimizer", "activations".
const char* state_kind_name(StateKind kind);
MemoryTag memory_tag(StateKind kind);

/// A part of a home, reserved once and kept. `bytes` is a multiple of 4096.
struct Region {
  int64_t offset = 0;  ///< NVMe: in the home's logical address space
  int64_t bytes = 0;
  int index = -1;
};

/// Names a move under way. Empty tickets are done.
struct Ticket {
  Event event;
  std::vector<io::Ticket> transfers;
};

/// What a home moved, and how long computation stood still for it.
struct HomeStats {
  int64_t read_bytes = 0;
  int64_t written_bytes = 0;
  double stall_seconds = 0;
};

/// Reserved by one thread; moves may be made by several.
class Home {
 public:
  virtual ~Home() = default;
  virtual MemoryTier tier() const = 0;

  /// A region of at least `bytes`, all zero. Throws Error when the tier has no room.
  virtual Region reserve(int64_t bytes) = 0;
  /// The memory itself where kernels can compute on it in place, else null.
  virtual std::byte* address(const Region& region) = 0;

  /// Moves bytes; offsets and sizes are multiples of 4096 on NVMe. Memory must stay until the move is done.
  Ticket read(const Region& region, int64_t offset, std::span<std::byte> data,
              io::Priority priority = io::Priority::kNormal);
  Ticket write(const Region& region, int64_t offset, std::span<const std::byte> data,
               io::Priority priority = io::Priority::kNormal);
  /// Blocks until the whole move is done. Rethrows its failure.
  virtual void finish(const Ticket& ticket) = 0;
  virtual bool done(const Ticket& ticket) const = 0;
  /// finish, counted as time that computation stood still.
  void wait(const Ticket& ticket);
  void add_stall(double seconds);

  HomeStats stats() const;

 protected:
  virtual Ticket start_read(const Region& region, int64_t offset, std::span<std::byte> data,
                            io::Priority priority) = 0;
  virtual Ticket start_write(const Region& region, int64_t offset, std::span<const std::byte> data,
                             io::Priority priority) = 0;

 private:
  mutable std::mutex mutex_;
  HomeStats stats_;  // guarded by mutex_
};

/// The swap files of one run on one or several drives. Removed at the end; those that a killed run left are
/// removed at the start.
class SwapSpace {
 public:
  struct Options {
    std::vector<std::filesystem::path> directories;  ///< each must exist or be creatable, and be writable
    int rank = 0;
    int queue_depth = 8;
    int64_t block_bytes = int64_t{1} << 20;
    io::AsyncQueue::BackendKind backend = io::AsyncQueue::BackendKind::kAuto;
    io::SystemCalls* calls = nullptr;  ///< nullptr: the real ones
  };
  /// Throws Error naming the directory that cannot be used.
  explicit SwapSpace(const Options& options);
  ~SwapSpace();
  SwapSpace(const SwapSpace&) = delete;
  SwapSpace& operator=(const SwapSpace&) = delete;

  const Options& options() const { return options_; }
  /// One folder of this run per drive.
  std::span<const std::filesystem::path> folders() const { return folders_; }
  io::AsyncQueue& queue() { return queue_; }

 private:
  class Folder;

  Options options_;
  std::vector<std::unique_ptr<Folder>> locked_;
  std::vector<std::filesystem::path> folders_;
  io::AsyncQueue queue_;
};

/// What homes are made from.
struct HomeContext {
  DeviceContext& device;
  MemoryLedger& nvme;         ///< books NVMe bytes
  SwapSpace* swap = nullptr;  ///< needed for NVMe on a real device
};
std::unique_ptr<Home> make_home(const HomeContext& context, MemoryTier tier, StateKind kind);

}  // namespace aleph::zero
