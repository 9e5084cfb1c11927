// Loops over all cores. OpenMP threads, because oneDNN computes on them too: one set of threads, no fights.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>

namespace aleph {

/// Number of threads parallel loops use, oneDNN's included.
inline int num_threads() { return omp_get_max_threads(); }

/// For loops that this thread starts from now on. The program calls it once, from --threads.
inline void set_num_threads(int threads) { omp_set_num_threads(threads); }

/// Calls `body(begin, end)` on disjoint ranges that cover [0, n), in parallel, each a multiple of `grain`
/// long except the last. Blocks until all are done and rethrows the first exception. A body must not depend
/// on how [0, n) is cut: sums across ranges belong into fixed slots, added in a fixed order afterwards.
template <typename Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  const int64_t pieces = (n + grain - 1) / grain;
  const int64_t workers = std::min<int64_t>(num_threads(), pieces);
  if (workers <= 1 || omp_in_parallel()) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(workers))
  for (int64_t w = 0; w < workers; ++w) {
    const int64_t begin = pieces * w / workers * grain;
    const int64_t end = std::min(n, pieces * (w + 1) / workers * grain);
    try {
      if (begin < end) body(begin, end);
    } catch (...) {
#pragma omp critical(aleph_parallel_for_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace aleph
