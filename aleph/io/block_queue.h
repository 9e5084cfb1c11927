// What stands between the callers of AsyncQueue and the backend that moves the bytes.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "aleph/base/clock.h"
#include "aleph/io/async_queue.h"
#include "aleph/io/transfer.h"

namespace aleph::io {

/// One read or write of a caller. The fields below `path` are guarded by the queue's mutex.
struct Request {
  Direction direction = Direction::kRead;
  int64_t bytes = 0;
  std::string path;
  int64_t open_blocks = 0;
  bool reported = false;  // a wait has thrown the failure
  std::exception_ptr failure;
};

/// A part of a request, at most block_bytes long.
struct Block {
  std::shared_ptr<Request> request;
  Transfer transfer;
};

/// Blocks waiting for the backend, and the completion of requests. Thread-safe.
class BlockQueue {
 public:
  void add(std::vector<Block> blocks, Priority priority = Priority::kNormal);
  /// The next block; waits for one, and returns nothing only after stop.
  std::optional<Block> next();
  /// The next block, or nothing.
  std::optional<Block> try_next();
  /// Makes next return nothing once the queue is empty.
  void stop();
  bool stopped() const;

  /// The block is done. `failure` is null where it worked. Never throws.
  void finish(const Block& block, std::exception_ptr failure);

  void wait(Request& request);
  bool done(const Request& request) const;
  void drain();
  void wait_all();
  AsyncQueue::Stats stats() const;

 private:
  bool empty() const;          // requires mutex_
  std::optional<Block> pop();  // requires mutex_

  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::condition_variable finished_;
  std::array<std::deque<Block>, 2> waiting_;      // by priority; guarded by mutex_
  int64_t open_requests_ = 0;                     // guarded by mutex_
  Stopwatch busy_;                                // since open_requests_ left 0; guarded by mutex_
  bool stopped_ = false;                          // guarded by mutex_
  std::vector<std::shared_ptr<Request>> failed_;  // not yet thrown; guarded by mutex_
  AsyncQueue::Stats stats_;                       // guarded by mutex_
};

/// Moves the blocks of a queue on threads of its own. The destructor returns when they have ended; the queue
/// is stopped and empty by then.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  /// Called after blocks were added and after stop.
  virtual void notify() = 0;
};

std::unique_ptr<Backend> make_thread_backend(BlockQueue& blocks, int depth, SystemCalls& calls);
/// Null where io_uring was not built in or the kernel refuses it.
std::unique_ptr<Backend> make_io_uring_backend(BlockQueue& blocks, int depth, SystemCalls& calls);

}  // namespace aleph::io
