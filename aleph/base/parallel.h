// Loops over all cores. OpenMP threads, because oneDNN computes on them too: one set of threads, no fights.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>

#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace aleph {

/// Number of threads parallel loops use, oneDNN's included.
inline int num_threads() { return omp_get_max_threads(); }

/// For loops that this thread starts from now on. The program calls it once, from --threads.
inline void set_num_threads(int threads) { omp_set_num_threads(threads); }

namespace internal {

// OpenMP's library is not instrumented: the thread sanitizer is told what its fork and its join order.
inline void happens_before([[maybe_unused]] void* address) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(address);
#endif
}
inline void happens_after([[maybe_unused]] void* address) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(address);
#endif
}

/// One parallel_for of more than one thread.
template <typename Body>
class ParallelLoop {
 public:
  ParallelLoop(int64_t n, int64_t grain, int64_t workers, const Body& body)
      : n_(n), grain_(grain), workers_(workers), body_(body) {}

  void run() {
    happens_before(this);
    fork_and_join();
    happens_after(this);
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  /// The sanitizer must not look at what the compiler hands over to the threads here.
  [[gnu::no_sanitize("thread")]] void fork_and_join() {
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(workers_))
    for (int64_t worker = 0; worker < workers_; ++worker) work(worker);
  }

  [[gnu::noinline]] void work(int64_t worker) {
    happens_after(this);
    const int64_t pieces = (n_ + grain_ - 1) / grain_;
    const int64_t begin = pieces * worker / workers_ * grain_;
    const int64_t end = std::min(n_, pieces * (worker + 1) / workers_ * grain_);
    try {
      if (begin < end) body_(begin, end);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    happens_before(this);
  }

  int64_t n_, grain_, workers_;
  const Body& body_;
  std::mutex mutex_;
  std::exception_ptr failure_;  // guarded by mutex_
};

}  // namespace internal

/// Calls `body(begin, end)` on disjoint ranges that cover [0, n), in parallel, each a multiple of `grain`
/// long except the last. Blocks until all are done and rethrows the first exception. A body must not depend
/// on how [0, n) is cut: sums across ranges belong into fixed slots, added in a fixed order afterwards.
template <typename Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  const int64_t workers = std::min<int64_t>(num_threads(), (n + grain - 1) / grain);
  if (workers <= 1 || omp_in_parallel()) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  internal::ParallelLoop<Body>(n, grain, workers, body).run();
}

}  // namespace aleph
