#include "aleph/base/start_threads.h"

#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/parallel.h"

namespace aleph {
namespace {

/// Whether this many threads can be at once beside this one.
bool can_start(int threads) {
  std::latch all_there(1);
  std::vector<std::jthread> trial;
  trial.reserve(static_cast<size_t>(threads));
  bool good = true;
  try {
    for (int i = 0; i < threads; ++i) trial.emplace_back([&] { all_there.wait(); });
  } catch (const std::system_error&) {
    good = false;
  }
  all_there.count_down();
  return good;
}

}  // namespace

void start_threads() {
  const int threads = num_threads();
  if (!can_start(threads - 1))
    throw Error("threads", fmt::format("the system refusing to start {} of them", threads),
                "room for their stacks (ulimit -v, -u, -s), or a smaller --threads");
  parallel_for(threads, 1, [](int64_t, int64_t) {});
}

}  // namespace aleph
