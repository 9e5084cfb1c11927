#include "aleph/base/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "aleph/base/error.h"

namespace aleph {
namespace {

constexpr int kExitInterrupted = 130;

// A signal handler can only reach what has static storage: the one place where that is right.
std::atomic<int> signals_seen = 0;
std::atomic<bool> guarded = false;
static_assert(std::atomic<int>::is_always_lock_free, "a handler must not wait for a lock");

constexpr char kNotice[] = "\nstopping where nothing is lost; once more to quit at once\n";

void on_signal(int /*signal*/) {
  if (signals_seen.fetch_add(1) > 0) ::_exit(kExitInterrupted);
  const int error = errno;
  (void)!::write(STDERR_FILENO, kNotice, sizeof(kNotice) - 1);
  errno = error;
}

void begin_to_guard() {
  ALEPH_CHECK(!guarded.exchange(true), "two InterruptGuards at once");
  signals_seen = 0;
}

/// Returns the handler it replaces.
struct sigaction handle(int signal) {
  struct sigaction action = {}, old = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // reads and writes in flight go on: the loop decides when to stop
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, nullptr, &old);
  if (signal != SIGHUP || old.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  return old;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  begin_to_guard();
  old_int_ = handle(SIGINT);
  old_term_ = handle(SIGTERM);
  old_hangup_ = handle(SIGHUP);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
  ::sigaction(SIGHUP, &old_hangup_, nullptr);
  signals_seen = 0;
  guarded = false;
}

void guard_until_exit() {
  begin_to_guard();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) handle(signal);
}

bool interrupted() { return signals_seen.load(std::memory_order_relaxed) > 0; }

void stop_if_interrupted() {
  if (interrupted()) throw Interrupted();
}

}  // namespace aleph
