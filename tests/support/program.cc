#include "tests/support/program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "aleph/base/error.h"
#include "aleph/io/file.h"

namespace aleph::tests {

namespace {

constexpr int64_t kMaxOutput = int64_t{1} << 26;

pid_t spawn(const std::vector<std::string>& arguments, const std::string& out, const std::string& err) {
  std::vector<char*> argv{const_cast<char*>(ALEPH_PROGRAM)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, ALEPH_PROGRAM, &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw Error(ALEPH_PROGRAM, std::to_string(error), "a program that starts");
  return pid;
}

}  // namespace

Program::Program(const std::vector<std::string>& arguments)
    : pid_(spawn(arguments, (directory_ / "out").string(), (directory_ / "err").string())) {}

Program::~Program() {
  if (!running()) return;
  signal(SIGKILL);
  ::waitpid(pid_, &raw_status_, 0);
}

void Program::signal(int number) const { ::kill(pid_, number); }

bool Program::running() {
  if (!ended_) ended_ = ::waitpid(pid_, &raw_status_, WNOHANG) == pid_;
  return !ended_;
}

ProgramResult Program::wait() {
  if (!ended_) ::waitpid(pid_, &raw_status_, 0);
  ended_ = true;
  return {.status = WIFEXITED(raw_status_) ? WEXITSTATUS(raw_status_) : 128 + WTERMSIG(raw_status_),
          .out = io::read_file(directory_ / "out", kMaxOutput),
          .err = io::read_file(directory_ / "err", kMaxOutput)};
}

ProgramResult run_program(const std::vector<std::string>& arguments) { return Program(arguments).wait(); }

ProgramResult run_script(const std::filesystem::path& directory, const std::string& script) {
  const io::TemporaryDirectory written;
  io::write_file_atomically(written / "script", "ALEPH='" ALEPH_PROGRAM "'\ncd '" + directory.string() +
                                                    "'\n" + "exec >'" + (written / "out").string() + "' 2>'" +
                                                    (written / "err").string() + "'\n" + script);
  const int status = std::system(("sh '" + (written / "script").string() + "'").c_str());
  return {.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .out = io::read_file(written / "out", kMaxOutput),
          .err = io::read_file(written / "err", kMaxOutput)};
}

}  // namespace aleph::tests
