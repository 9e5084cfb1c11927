// For tests: the program as a function.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "aleph/cli/commands.h"

namespace aleph::cli {

struct Ran {
  int status = 0;
  std::string out, err;

  /// The one line that a failure writes, without "aleph: error: " and the line break; else all of `err`.
  std::string fault() const {
    const std::string prefix = "aleph: error: ";
    const bool one_line = err.starts_with(prefix) && err.find('\n') + 1 == err.size();
    return one_line ? err.substr(prefix.size(), err.size() - prefix.size() - 1) : err;
  }
};

/// aleph ARGUMENTS, in this process.
inline Ran ran(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv{"aleph"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ran result;
  result.status = run(static_cast<int>(argv.size()), argv.data());
  result.out = testing::internal::GetCapturedStdout();
  result.err = testing::internal::GetCapturedStderr();
  return result;
}

/// Sets a variable of the environment while it lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() { ::unsetenv(name_); }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
};

}  // namespace aleph::cli
