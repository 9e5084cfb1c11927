#include "aleph/base/log.h"

#include <unistd.h>

#include <cstdio>

namespace aleph {

void print_error(const std::string& text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

Console Console::detect(bool quiet) {
  return Console({.quiet = quiet, .terminal = ::isatty(STDERR_FILENO) == 1});
}

void Console::line(const std::string& text) {
  finish();
  write(text + "\n");
}

void Console::warning(const std::string& text) {
  finish();
  print_error(fmt::format("aleph: warning: {}\n", text));
}

void Console::progress(const std::string& text) {
  if (!options_.terminal) return line(text);
  write("\r\033[K" + text);
  open_line_ = true;
}

void Console::finish() {
  if (open_line_) write("\n");
  open_line_ = false;
}

void Console::write(const std::string& text) {
  if (!options_.quiet) print_error(text);
}

}  // namespace aleph
