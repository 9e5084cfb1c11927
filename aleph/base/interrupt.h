// Ctrl-C, SIGTERM and a lost terminal (SIGHUP), asked for politely: long loops poll and stop at a place where
// nothing is lost.
#pragma once

#include <signal.h>

#include <exception>

namespace aleph {

/// Work was given up for a signal. No fault of anyone: never reported as one.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

/// While one lives, the first SIGINT, SIGTERM or SIGHUP makes interrupted() true and says so on standard
/// error, and a second one ends the process at once with status 130. A SIGHUP that is
/// ignored, as nohup has it, stays ignored. Gives back the handlers it found. At most one at a time in a
/// process; construct it on the main thread.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction old_int_ = {};
  struct sigaction old_term_ = {};
  struct sigaction old_hangup_ = {};
};

/// An InterruptGuard for the rest of the process: a signal that comes in when its work is done does not
/// change how it ends.
void guard_until_exit();

/// Whether a signal has come in under the current InterruptGuard; false when there is none. Any thread may
/// ask.
bool interrupted();
/// Throws Interrupted where interrupted(): for work that is simply dropped.
void stop_if_interrupted();

}  // namespace aleph
