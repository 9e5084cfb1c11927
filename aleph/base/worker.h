// One background thread that runs tasks in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace aleph {

/// Tasks run one after another on a thread of their own. The first exception is kept, later tasks are
/// skipped, and every wait from then on rethrows it. All methods may be called from any thread.
class Worker {
 public:
  Worker();
  /// Runs what is queued, then joins. An exception that nobody waited for is dropped.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Queues a task; returns its number (1, 2, ...), for wait.
  int64_t submit(std::function<void()> task);
  /// Blocks until task `number` and all before it are done. Rethrows the first failure.
  void wait(int64_t number);
  bool done(int64_t number) const;

 private:
  void run();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;  // guarded by mutex_
  int64_t submitted_ = 0;                    // guarded by mutex_
  int64_t finished_ = 0;                     // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::exception_ptr failure_;               // guarded by mutex_
  std::thread thread_;
};

}  // namespace aleph
