// Lines for people, on standard error.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace aleph {

/// Writes to standard error at once. Where that fails there is nobody left to tell: never throws.
void print_error(const std::string& text) noexcept;

/// Where notes and progress go. `line` writes a lasting line; `progress` rewrites one line on a terminal and
/// falls back to lasting lines elsewhere. Quiet drops both, but no warnings; errors are not its business.
class Console {
 public:
  struct Options {
    bool quiet = false;
    bool terminal = false;  ///< standard error is a terminal
  };

  explicit Console(const Options& options) : options_(options) {}
  /// Asks isatty(2).
  static Console detect(bool quiet);

  void line(const std::string& text);
  /// A line that nobody should miss: "aleph: warning: TEXT".
  void warning(const std::string& text);
  void progress(const std::string& text);
  /// Ends a progress line that stands open, so that what follows starts on a fresh line.
  void finish();

  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    line(fmt::format(format, std::forward<Args>(args)...));
  }
  const Options& options() const { return options_; }

 private:
  void write(const std::string& text);

  Options options_;
  bool open_line_ = false;
};

}  // namespace aleph
