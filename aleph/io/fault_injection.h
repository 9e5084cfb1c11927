// A disk that fails on purpose, for tests: errors at chosen calls, short transfers, a process that is killed,
// a machine that loses power.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "aleph/io/syscalls.h"

namespace aleph::io {

enum class Call : uint8_t {
  kOpen,
  kRead,
  kWrite,
  kSync,
  kAllocate,
  kTruncate,
  kRename,  ///< and exchange
  kRemove,
  kMakeDirectory
};
inline constexpr size_t kCalls = 9;

/// System calls that can be told to fail. It remembers how to take back what has not been synced: the bytes
/// of files until fsync of the file, new names until fsync of the directory. Thread-safe.
class FaultInjection final : public SystemCalls {
 public:
  FaultInjection() = default;
  ~FaultInjection() override;

  /// The `nth` call of this kind from now on (1: the next) fails with `error`, and the `times` - 1 after it.
  void fail(Call call, int64_t nth, int error, int64_t times = 1);
  /// Reads and writes move at most this much at a time; 0: no limit.
  void limit_transfers(int64_t bytes);
  /// The process dies before the `nth` change to the disk from now on (1: the next): that call and all later
  /// calls of any kind fail with EIO.
  void kill_at_change(int64_t nth);
  bool killed() const;

  int64_t count(Call call) const;
  /// Calls so far that change the disk.
  int64_t changes() const;

  enum class PowerLoss : uint8_t {
    kAll,     ///< nothing that was not synced survives
    kRandom,  ///< each unsynced write survives or not; names survive up to a random moment
  };
  /// Takes back what was not synced. All files must be closed. `seed` is for kRandom.
  void lose_power(PowerLoss loss, uint64_t seed = 0);

  int open(const char* path, int flags) override;
  int64_t pread(int fd, std::span<std::byte> data, int64_t offset) override;
  int64_t pwrite(int fd, std::span<const std::byte> data, int64_t offset) override;
  int fsync(int fd) override;
  int allocate(int fd, int64_t bytes) override;
  int truncate(int fd, int64_t bytes) override;
  int rename(const char* from, const char* to) override;
  int exchange(const char* a, const char* b) override;
  int remove(const char* path) override;
  int make_directory(const char* path) override;
  Verdict before_transfer(const Transfer& transfer) override;

 private:
  struct Failure {
    int64_t countdown = 0;  // calls until it strikes
    int64_t times = 0;
    int error = 0;
  };
  class Handle;
  struct Change {
    std::string owner;             // what must be synced to keep it
    std::shared_ptr<Handle> file;  // null where it is a name that changed
    std::function<void(PowerLoss)> undo;
  };

  // All require mutex_.
  int judge(Call call, bool change);
  void remember_bytes(int fd, int64_t offset, int64_t bytes);
  void remember_name(std::string owner, std::function<void()> undo);

  mutable std::mutex mutex_;
  std::array<int64_t, kCalls> counts_{};
  std::array<Failure, kCalls> failures_{};
  int64_t transfer_limit_ = 0;
  int64_t changes_ = 0;
  int64_t kill_at_ = 0;  // number of the change; 0: never
  bool killed_ = false;
  std::vector<Change> unsynced_;
};

}  // namespace aleph::io
