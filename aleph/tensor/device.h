// Device, stream and event, with the meaning CUDA gives them: work on a stream runs in order and may run
// later than the call; an event marks a point of a stream; other streams and the host wait for events.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "aleph/base/worker.h"
#include "aleph/tensor/kernel_profile.h"
#include "aleph/tensor/memory_pool.h"

namespace aleph {

enum class DeviceKind : uint8_t {
  kCpu,
  kMeta,  ///< books memory, computes nothing: what the planner runs on
};

/// A point in a stream's order. Copyable; empty events are done.
class Event {
 public:
  Event() = default;
  Event(Worker& worker, int64_t number) : worker_(&worker), number_(number) {}
  bool done() const { return worker_ == nullptr || worker_->done(number_); }
  /// Blocks the host. Rethrows the first failure of the stream.
  void wait() const {
    if (worker_ != nullptr) worker_->wait(number_);
  }

 private:
  Worker* worker_ = nullptr;
  int64_t number_ = 0;
};

/// An ordered queue of work on a CPU: inline (runs in the call) or on a thread of its own.
class Stream {
 public:
  enum class Mode : uint8_t { kInline, kThread };
  explicit Stream(Mode mode) : worker_(mode == Mode::kThread ? std::make_unique<Worker>() : nullptr) {}

  /// What `work` refers to must live until it has run.
  Event run(std::function<void()> work) {
    if (worker_ == nullptr) {
      work();
      return {};
    }
    return Event(*worker_, worker_->submit(std::move(work)));
  }
  /// Later work on this stream starts after `event`.
  void wait(const Event& event) {
    if (!event.done()) run([event] { event.wait(); });
  }
  void synchronize() {
    run([] {}).wait();
  }

 private:
  std::unique_ptr<Worker> worker_;
};

/// A device and its memory, passed to everything that computes. Kernels run on the calling thread, `copy`
/// moves between tiers.
class DeviceContext {
 public:
  struct Options {
    DeviceKind kind = DeviceKind::kCpu;
    int64_t device_budget_bytes = 0;  ///< 0: no limit
    int64_t host_budget_bytes = 0;    ///< 0: no limit
  };
  explicit DeviceContext(const Options& options);

  DeviceKind kind() const { return kind_; }
  /// True where kernels book their workspace, check their arguments, and return without touching data.
  bool meta() const { return kind_ == DeviceKind::kMeta; }
  MemoryPool& memory() { return device_memory_; }
  MemoryPool& host_memory() { return host_memory_; }
  Stream& copy() { return copy_; }
  /// What kernels have cost so far.
  KernelProfile& profile() { return profile_; }

 private:
  DeviceKind kind_;
  MemoryPool device_memory_;
  MemoryPool host_memory_;
  Stream copy_;
  KernelProfile profile_;
};

}  // namespace aleph
