#include "aleph/io/mapped_fault.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdint>
#include <string_view>

namespace aleph::io {
namespace {

// Everything below runs in a signal handler: no memory, no locks, only system calls.

constexpr int kExitError = 1;

void say(std::string_view text) { (void)!::write(STDERR_FILENO, text.data(), text.size()); }

/// Whether a line of /proc/self/maps, "7f12-7f34 r--p ...", is about memory that holds `address`.
bool holds(std::string_view line, uintptr_t address) {
  uintptr_t begin = 0, end = 0;
  const char* const last = line.data() + line.size();
  const char* const dash = std::from_chars(line.data(), last, begin, 16).ptr;
  if (dash == last) return false;
  std::from_chars(dash + 1, last, end, 16);
  return begin <= address && address < end;
}

/// The path of a line of /proc/self/maps; empty for memory of no file.
std::string_view path_in(std::string_view line) {
  const size_t slash = line.find('/');
  return slash == std::string_view::npos ? std::string_view() : line.substr(slash);
}

/// Lines of a file, one at a time, in a fixed buffer. Longer ones are cut.
class LineReader {
 public:
  explicit LineReader(const char* path) : file_(::open(path, O_RDONLY | O_CLOEXEC)) {}
  ~LineReader() {
    if (file_ >= 0) ::close(file_);
  }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool next(std::string_view& line) {
    size_t length = 0;
    char c = 0;
    while (file_ >= 0 && ::read(file_, &c, 1) == 1 && c != '\n')
      if (length < sizeof(line_)) line_[length++] = c;
    line = {line_, length};
    return length > 0;
  }

 private:
  int file_;
  char line_[4608];  // addresses and the longest path
};

void on_fault(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  LineReader maps("/proc/self/maps");
  std::string_view line;
  while (maps.next(line)) {
    const std::string_view path = path_in(line);
    if (path.empty() || !holds(line, address)) continue;
    say("\naleph: ");
    say(path);
    say(": found pages that cannot be read; expected a sound disk, and a file that stays as it is while it "
        "is "
        "used\n");
    ::_exit(kExitError);
  }
  std::signal(SIGBUS, SIG_DFL);  // a fault of ours: the instruction runs again, and ends the process
}

}  // namespace

void report_mapped_faults() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace aleph::io
