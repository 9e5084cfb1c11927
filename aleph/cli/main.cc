#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "aleph/cli/commands.h"
#include "aleph/io/mapped_fault.h"

namespace {

/// libgomp reads its environment before main: its threads must yield soon instead of spinning (milliseconds
/// per fork where cores are shared), so the program starts itself once more with that said.
void restart_with_short_spins(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "2000", 1);
  ::execv("/proc/self/exe", argv);
}

/// Closed standard descriptors would be given to the next files that are opened, which then get what is
/// printed. Standard output is opened for reading, so that lost results are noticed.
void hold_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free descriptor is fd: those below it are open by now.
    if (::open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd) std::_Exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  hold_standard_descriptors();
  restart_with_short_spins(argv);
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of the write, not the end of a training run
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of the write, too
  aleph::io::report_mapped_faults();
  return aleph::cli::run(argc, argv);
}
