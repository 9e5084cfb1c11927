#include "aleph/io/block_queue.h"

#include <algorithm>
#include <utility>

namespace aleph::io {

void BlockQueue::add(std::vector<Block> blocks, Priority priority) {
  {
    std::lock_guard lock(mutex_);
    // Room for the failure of every open request: finish must not need memory to tell that there is none.
    failed_.reserve(failed_.size() + static_cast<size_t>(open_requests_) + 1);
    if (open_requests_++ == 0) busy_.restart();
    std::deque<Block>& waiting = waiting_[static_cast<size_t>(priority)];
    for (Block& block : blocks) waiting.push_back(std::move(block));
  }
  if (blocks.size() > 1)
    added_.notify_all();
  else
    added_.notify_one();
}

std::optional<Block> BlockQueue::pop() {
  for (std::deque<Block>& waiting : waiting_) {
    if (waiting.empty()) continue;
    std::optional<Block> block(std::move(waiting.front()));
    waiting.pop_front();
    return block;
  }
  return std::nullopt;
}

bool BlockQueue::empty() const {
  return std::all_of(waiting_.begin(), waiting_.end(), [](const auto& waiting) { return waiting.empty(); });
}

std::optional<Block> BlockQueue::next() {
  std::unique_lock lock(mutex_);
  added_.wait(lock, [&] { return stopped_ || !empty(); });
  return pop();
}

std::optional<Block> BlockQueue::try_next() {
  std::lock_guard lock(mutex_);
  return pop();
}

void BlockQueue::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  added_.notify_all();
}

bool BlockQueue::stopped() const {
  std::lock_guard lock(mutex_);
  return stopped_;
}

void BlockQueue::finish(const Block& block, std::exception_ptr failure) {
  std::lock_guard lock(mutex_);
  Request& request = *block.request;
  if (failure && !request.failure) {
    request.failure = std::move(failure);
    failed_.push_back(block.request);
  }
  if (--request.open_blocks > 0) return;
  if (--open_requests_ == 0) stats_.busy_seconds += busy_.seconds();
  if (!request.failure) {
    const bool read = request.direction == Direction::kRead;
    ++(read ? stats_.reads : stats_.writes);
    (read ? stats_.bytes_read : stats_.bytes_written) += request.bytes;
  }
  finished_.notify_all();
}

void BlockQueue::wait(Request& request) {
  std::unique_lock lock(mutex_);
  if (request.open_blocks > 0) {
    const Stopwatch watch;
    finished_.wait(lock, [&] { return request.open_blocks == 0; });
    stats_.wait_seconds += watch.seconds();
  }
  if (!request.failure) return;
  if (!request.reported) std::erase_if(failed_, [&](const auto& failed) { return failed.get() == &request; });
  request.reported = true;
  std::rethrow_exception(request.failure);
}

bool BlockQueue::done(const Request& request) const {
  std::lock_guard lock(mutex_);
  return request.open_blocks == 0;
}

void BlockQueue::wait_all() {
  std::unique_lock lock(mutex_);
  if (open_requests_ == 0) return;
  const Stopwatch watch;
  finished_.wait(lock, [&] { return open_requests_ == 0; });
  stats_.wait_seconds += watch.seconds();
}

void BlockQueue::drain() {
  wait_all();
  std::unique_lock lock(mutex_);
  const auto failed = std::exchange(failed_, {});
  lock.unlock();
  if (!failed.empty()) std::rethrow_exception(failed.front()->failure);
}

AsyncQueue::Stats BlockQueue::stats() const {
  std::lock_guard lock(mutex_);
  AsyncQueue::Stats stats = stats_;
  if (open_requests_ > 0) stats.busy_seconds += busy_.seconds();
  return stats;
}

}  // namespace aleph::io
