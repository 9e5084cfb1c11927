#include "aleph/zero/update_run.h"

#include <algorithm>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/parallel.h"

namespace aleph::zero {
namespace {

/// Ends the stream of a run that is given up.
struct GivenUp : std::exception {};

/// Streaming from a drive needs few cores; the passes keep the others.
int worker_threads() { return std::max(1, num_threads() / 4); }

ShardStreamArgs with_gate(ShardStreamArgs args, StreamGate* gate) {
  args.gate = gate;
  return args;
}

}  // namespace

UpdateRun::UpdateRun(DeviceContext& device, ShardStreamArgs args, size_t units, Worker* worker)
    : complete_(units), settled_(units), stream_(device, with_gate(std::move(args), this)), worker_(worker) {
  if (worker_ == nullptr) return;
  task_ = worker_->submit([this, threads = worker_threads()] {
    set_num_threads(threads);
    run_on_worker();
  });
}

UpdateRun::~UpdateRun() {
  {
    std::lock_guard lock(mutex_);
    given_up_ = true;
    changed_.notify_all();
  }
  if (worker_ == nullptr) return;
  try {
    worker_->wait(task_);
  } catch (const std::exception&) {  // nobody asked for its result
  }
}

void UpdateRun::run_on_worker() {
  try {
    stream_.run();
  } catch (...) {
    std::lock_guard lock(mutex_);
    failed_ = true;
    changed_.notify_all();
    throw;
  }
}

void UpdateRun::run_here() {
  if (!std::exchange(ran_here_, true)) stream_.run();
}

void UpdateRun::release(int unit) {
  std::lock_guard lock(mutex_);
  complete_[static_cast<size_t>(unit)] = true;
  changed_.notify_all();
}

bool UpdateRun::is_settled(int unit) const {
  std::lock_guard lock(mutex_);
  const auto index = static_cast<size_t>(unit);
  return !failed_ && (!complete_[index] || settled_[index]);
}

void UpdateRun::settle(int unit) {
  if (worker_ == nullptr) return run_here();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failed_ || settled_[static_cast<size_t>(unit)]; });
  const bool failed = failed_;
  lock.unlock();
  if (failed) worker_->wait(task_);
}

void UpdateRun::finish() {
  if (worker_ == nullptr) return run_here();
  worker_->wait(task_);
}

bool UpdateRun::complete(int unit) {
  std::lock_guard lock(mutex_);
  return complete_[static_cast<size_t>(unit)];
}

void UpdateRun::await(int unit) {
  std::unique_lock lock(mutex_);
  ALEPH_CHECK(worker_ != nullptr || complete_[static_cast<size_t>(unit)],
              "an update before the gradient of unit {}", unit);
  changed_.wait(lock, [&] { return given_up_ || complete_[static_cast<size_t>(unit)]; });
  if (given_up_) throw GivenUp();
}

void UpdateRun::settled(int unit) {
  std::lock_guard lock(mutex_);
  settled_[static_cast<size_t>(unit)] = true;
  changed_.notify_all();
}

}  // namespace aleph::zero
