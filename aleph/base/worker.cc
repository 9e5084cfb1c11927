#include "aleph/base/worker.h"

#include <utility>

namespace aleph {

Worker::Worker() : thread_([this] { run(); }) {}

Worker::~Worker() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

int64_t Worker::submit(std::function<void()> task) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(task));
  changed_.notify_all();
  return ++submitted_;
}

void Worker::wait(int64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return finished_ >= number; });
  if (failure_) std::rethrow_exception(failure_);
}

bool Worker::done(int64_t number) const {
  std::lock_guard lock(mutex_);
  return finished_ >= number;
}

void Worker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    const bool skip = failure_ != nullptr;
    lock.unlock();
    std::exception_ptr failure;
    try {
      if (!skip) task();
    } catch (...) {
      failure = std::current_exception();
    }
    task = nullptr;  // releases what the task holds before anyone is told that it is done
    lock.lock();
    if (failure && !failure_) failure_ = failure;
    ++finished_;
    changed_.notify_all();
  }
}

}  // namespace aleph
