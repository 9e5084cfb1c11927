// A disk that fails on purpose, for tests: errors at chosen calls, short transfers, a process that is killed,
// a machine that loses power.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "aleph/io/syscalls.h"
#include "aleph/io/unsynced_changes.h"

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

/// System calls that can be told to fail. It remembers how to take back what has not been synced (for
/// lose_power; fsync itself only moves the books, so that tests stay fast). Thread-safe.
class FaultInjection final : public SystemCalls {
 public:
  /// `remember`: false where power is never lost, for runs that write much.
  explicit FaultInjection(bool remember = true) : remember_(remember) {}

  /// The `nth` call of this kind from now on (1: the next) fails with `error`, and the `times` - 1 after it.
  void fail(Call call, int64_t nth, int error, int64_t times = 1);
  /// The `nth` call of any kind from now on fails with `error`; where `error` is 0 and it is a read or write,
  /// it moves only about half.
  void fail_any(int64_t nth, int error);
  /// What fail_any has struck.
  struct Struck {
    Call call = Call::kOpen;
    std::string path;   ///< empty where it has no name any more
    int64_t bytes = 0;  ///< that a read or write was asked to move
  };
  std::optional<Struck> struck() const;
  /// Reads and writes move at most this much at a time; 0: no limit.
  void limit_transfers(int64_t bytes);
  /// The process dies before the `nth` change to the disk from now on (1: the next): that call and all later
  /// calls of any kind fail with EIO.
  void kill_at_change(int64_t nth);
  bool killed() const;

  int64_t count(Call call) const;
  /// Calls of all kinds so far.
  int64_t calls() const;
  /// Calls so far that change the disk.
  int64_t changes() const;

  using PowerLoss = io::PowerLoss;
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

    bool strikes() { return times > 0 && --countdown <= 0 && times-- > 0; }
  };

  // All require mutex_.
  int judge(Call call, bool change, const std::string& path, int64_t bytes = 0);
  int judge(Call call, bool change, int fd, int64_t bytes = 0);

  const bool remember_;
  mutable std::mutex mutex_;
  std::array<int64_t, kCalls> counts_{};
  std::array<Failure, kCalls> failures_{};
  Failure any_failure_;
  std::optional<Struck> struck_;
  int64_t transfer_limit_ = 0;
  int64_t changes_ = 0;
  int64_t kill_at_ = 0;  // number of the change; 0: never
  bool killed_ = false;
  UnsyncedChanges unsynced_;
};

}  // namespace aleph::io
