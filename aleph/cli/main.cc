#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "aleph/cli/commands.h"

namespace {

/// libgomp reads its environment before main: its threads must yield soon instead of spinning (milliseconds
/// per fork where cores are shared), so the program starts itself once more with that said.
void restart_with_short_spins(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "2000", 1);
  ::execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  restart_with_short_spins(argv);
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of the write, not the end of a training run
  return aleph::cli::run(argc, argv);
}
