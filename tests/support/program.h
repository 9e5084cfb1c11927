// The program itself, as its users run it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "aleph/io/temporary_directory.h"

namespace aleph::tests {

struct ProgramResult {
  int status = 0;  ///< exit status; 128 + signal where one ended it
  std::string out, err;
};

/// A running `aleph ARGUMENTS`; killed by the destructor where it still runs.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  bool running();
  /// Blocks until it ends.
  ProgramResult wait();

 private:
  io::TemporaryDirectory directory_;  // of what it writes
  pid_t pid_ = -1;
  int raw_status_ = 0;
  bool ended_ = false;
};

ProgramResult run_program(const std::vector<std::string>& arguments);
/// Runs `script` with sh; "$ALEPH" is the program, the working directory is `directory`.
ProgramResult run_script(const std::filesystem::path& directory, const std::string& script);

}  // namespace aleph::tests
