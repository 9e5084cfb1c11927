// Reads and writes that run while the caller computes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "aleph/io/file.h"
#include "aleph/io/syscalls.h"

namespace aleph::io {

/// Which requests start first. What computation is about to need must not queue behind what runs beside it.
enum class Priority : uint8_t { kNormal, kBackground };

struct Request;
class BlockQueue;
class Backend;

/// Names a request of an AsyncQueue. A small value; copies name the same request. An empty ticket is done.
class Ticket {
 public:
  Ticket() = default;

 private:
  friend class AsyncQueue;
  explicit Ticket(std::shared_ptr<Request> request) : request_(std::move(request)) {}
  std::shared_ptr<Request> request_;
};

/// A queue of reads and writes of files. Requests are cut into blocks; up to `depth` blocks are in flight.
/// Requests of one priority start in the order given but may overtake each other: wait for a write before
/// reading what it wrote or writing there again. Every result is checked and short I/O is continued.
/// Thread-safe.
class AsyncQueue {
 public:
  enum class BackendKind : uint8_t {
    kAuto,     ///< io_uring where it was built in and the kernel allows it, threads otherwise
    kIoUring,  ///< throws Error where there is none
    kThreads
  };
  static constexpr int kMaxDepth = 1024;
  /// Whether blocks may have this size: a positive multiple of kDirectAlignment of at most 1 GiB (one system
  /// call moves at most 2^31 - 4096 bytes).
  static bool takes_block(int64_t bytes);

  struct Options {
    int depth = 8;                  ///< 1 ... kMaxDepth
    int64_t block_bytes = 1 << 20;  ///< see takes_block
    BackendKind backend = BackendKind::kAuto;
    SystemCalls* calls = nullptr;  ///< nullptr: the real ones
  };
  /// Sums since construction.
  struct Stats {
    int64_t reads = 0, writes = 0;  ///< requests finished without error
    int64_t bytes_read = 0, bytes_written = 0;
    double wait_seconds = 0;  ///< how long callers stood in wait and drain
    double busy_seconds = 0;  ///< how long some request was under way
  };

  AsyncQueue() : AsyncQueue(Options{}) {}
  explicit AsyncQueue(const Options& options);
  /// Finishes all requests; errors that nobody waited for are dropped.
  ~AsyncQueue();
  AsyncQueue(const AsyncQueue&) = delete;
  AsyncQueue& operator=(const AsyncQueue&) = delete;

  /// Fills `data` from `offset` on. File and memory must stay until the ticket is done; the memory must not
  /// be touched before. Returns at once. On a direct file, offsets, sizes and addresses that are multiples of
  /// kDirectAlignment bypass the page cache; others work, slower.
  Ticket read(const File& file, int64_t offset, std::span<std::byte> data,
              Priority priority = Priority::kNormal);
  /// As read, in the other direction.
  Ticket write(const File& file, int64_t offset, std::span<const std::byte> data,
               Priority priority = Priority::kNormal);

  /// Blocks until the request is done. Throws its Error (path, offset, bytes, reason), each time it is asked;
  /// and what a thread of the queue has thrown while it moved it, a bug or a lack of memory.
  void wait(const Ticket& ticket);
  /// Never blocks; true also for a request that failed.
  bool done(const Ticket& ticket) const;
  /// Blocks until all requests given so far are done. Throws the first Error that no wait has thrown yet, and
  /// forgets the others.
  void drain();

  /// "io_uring" or "threads".
  std::string_view backend() const;
  Stats stats() const;

 private:
  Ticket add(Direction direction, const File& file, int64_t offset, std::span<std::byte> data,
             Priority priority);

  Options options_;
  std::unique_ptr<BlockQueue> blocks_;
  std::unique_ptr<Backend> backend_;  // after blocks_: its threads use them
};

}  // namespace aleph::io
