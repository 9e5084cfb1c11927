// Two kinds of failure. The world's faults (file, configuration, memory, request) throw Error; wrong use of
// the command line throws UsageError; our own bugs fail ALEPH_CHECK. The command line maps them to exit 1, 2
// and 70.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace aleph {

/// A fault of the world. `what()` is one line: "OBJECT: found FOUND, expected EXPECTED".
class Error : public std::runtime_error {
 public:
  /// `object` names what is wrong (a path, key or tensor), `found` what is there, `expected` what should be.
  Error(const std::string& object, const std::string& found, const std::string& expected);

 protected:
  explicit Error(const std::string& line) : std::runtime_error(line) {}
};

/// Wrong usage: an unknown flag, a bad value, flags that exclude each other.
class UsageError : public Error {
 public:
  using Error::Error;
  explicit UsageError(const std::string& line) : Error(line) {}
};

/// A broken promise inside the program.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

namespace detail {
[[noreturn]] void fail_check(const char* file, int line, const char* condition, const std::string& message);
}  // namespace detail

}  // namespace aleph

/// Always on. ALEPH_CHECK(condition) or ALEPH_CHECK(condition, "format {}", argument).
#define ALEPH_CHECK(condition, ...)                                                               \
  do {                                                                                            \
    if (!(condition)) [[unlikely]]                                                                \
      ::aleph::detail::fail_check(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (false)
