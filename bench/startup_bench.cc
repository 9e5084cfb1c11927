// From the start of the program to its first token, and the most memory it takes: runs of `aleph generate` as
// a user starts them, with the model's files in the page cache.
//
//   startup_bench --model DIR [--aleph FILE] [--dtype bf16|fp32] [--tokens N] [--runs N] [--json FILE]

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "aleph/io/file.h"
#include "bench/bench.h"

namespace aleph::bench {
namespace {

namespace fs = std::filesystem;

/// One run of the program.
struct Start {
  double first_token_seconds = 0;  ///< until the first byte of text
  double total_seconds = 0;
  int64_t peak_bytes = 0;            ///< resident, files mapped included
  int64_t peak_anonymous_bytes = 0;  ///< resident and of no file, looked at every half millisecond
};

/// The line "RssAnon:  123 kB" of /proc/PID/status.
int64_t anonymous_bytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  std::string word;
  int64_t kilobytes = 0;
  while (status >> word)
    if (word == "RssAnon:") status >> kilobytes;
  return kilobytes << 10;
}

pid_t spawn(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::dup2(output, STDOUT_FILENO);
  ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

Start start(const std::vector<std::string>& command) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) throw Error("pipe", std::strerror(errno), "a pipe");
  Start result;
  const Stopwatch watch;
  const pid_t pid = spawn(command, pipe[1]);
  ::close(pipe[1]);
  std::thread reader([&] {
    char text[4096];
    while (::read(pipe[0], text, sizeof(text)) > 0)
      if (result.first_token_seconds == 0) result.first_token_seconds = watch.seconds();
  });
  int status = 0;
  struct rusage usage {};
  while (::wait4(pid, &status, WNOHANG, &usage) == 0) {
    result.peak_anonymous_bytes = std::max(result.peak_anonymous_bytes, anonymous_bytes(pid));
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  result.total_seconds = watch.seconds();
  reader.join();
  ::close(pipe[0]);
  result.peak_bytes = int64_t{usage.ru_maxrss} << 10;
  if (status != 0) throw Error(command[0], fmt::format("status {}", status), "a run that ends well");
  return result;
}

template <typename Value>
Value median(const std::vector<Start>& runs, Value Start::*member) {
  std::vector<Value> values;
  for (const Start& run : runs) values.push_back(run.*member);
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

Json json_of(const Start& run) {
  return {{"first_token_seconds", run.first_token_seconds},
          {"total_seconds", run.total_seconds},
          {"peak_bytes", run.peak_bytes},
          {"peak_anonymous_bytes", run.peak_anonymous_bytes}};
}

void run(int argc, char** argv) {
  const Options options =
      parse(argc, argv,
            {{"--model", ""},
             {"--aleph", (fs::read_symlink("/proc/self/exe").parent_path() / "aleph").string()},
             {"--dtype", "bf16"},
             {"--tokens", "1"},
             {"--runs", "9"}});
  const fs::path model = options.own.at("--model");
  for (const auto& file : fs::directory_iterator(model)) io::read_file(file.path(), int64_t{1} << 40);
  const std::vector<std::string> command = {options.own.at("--aleph"),
                                            "generate",
                                            "--model",
                                            model.string(),
                                            "--prompt",
                                            "Once upon a time",
                                            "--max-tokens",
                                            options.own.at("--tokens"),
                                            "--dtype",
                                            options.own.at("--dtype")};
  std::vector<Start> runs;
  Json all = Json::array();
  for (int i = 0; i < std::max(1, std::atoi(options.own.at("--runs").c_str())); ++i) {
    runs.push_back(start(command));
    all.push_back(json_of(runs.back()));
  }
  const Start middle{median(runs, &Start::first_token_seconds), median(runs, &Start::total_seconds),
                     median(runs, &Start::peak_bytes), median(runs, &Start::peak_anonymous_bytes)};
  fmt::print(
      "{} runs, medians: first token after {:.3f} s, end after {:.3f} s, peak {:.1f} MB, {:.1f} MB of no "
      "file\n",
      runs.size(), middle.first_token_seconds, middle.total_seconds,
      static_cast<double>(middle.peak_bytes) / 1e6, static_cast<double>(middle.peak_anonymous_bytes) / 1e6);
  if (options.json.empty()) return;
  io::write_file_atomically(
      options.json,
      Json{{"benchmark", "startup"}, {"command", command}, {"median", json_of(middle)}, {"runs", all}}.dump(
          2) +
          "\n");
}

}  // namespace
}  // namespace aleph::bench

int main(int argc, char** argv) {
  return aleph::bench::main_of([&] { aleph::bench::run(argc, argv); });
}
