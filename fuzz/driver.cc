#include "fuzz/driver.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string_view>

#include "aleph/base/error.h"
#include "aleph/io/file.h"
#include "fuzz/mutator.h"
#include "fuzz/parser.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace aleph::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostBytes = 1 << 24;

struct Options {
  fs::path corpus;
  fs::path dictionary;
  std::string keep = "fuzz-fault";
  uint64_t runs = 10'000;
  uint64_t first = 0;
  uint64_t seconds = 5;
};

/// What is being tried, for those who die of it: everything that keeping it needs, made ready before.
struct {
  std::string name, file, keep;
} current;

/// Safe in a signal handler.
void keep_current() {
  const auto say = [](std::string_view text) {
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;
  };
  const int file = ::open(current.keep.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const bool kept = file >= 0 && ::write(file, current.file.data(), current.file.size()) ==
                                     static_cast<ssize_t>(current.file.size());
  say(current.name);
  say(kept ? ": fault, the file is kept in " : ": fault, the file could not be kept in ");
  say(current.keep);
  say("\n");
}

void on_signal(int signal) {
  keep_current();
  if (signal == SIGPROF) {
    constexpr std::string_view kHang = "a hang: the time to compute is over\n";
    if (::write(STDERR_FILENO, kHang.data(), kHang.size()) < 0) ::_exit(2);
  }
  ::_exit(1);
}

void watch_deaths() {
  std::signal(SIGPROF, on_signal);
  if (__sanitizer_set_death_callback != nullptr) return __sanitizer_set_death_callback(keep_current);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) std::signal(signal, on_signal);
}

/// Computing time, so that a busy machine is no hang.
void allow_seconds(time_t seconds) {
  const itimerval limit = {.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_usec = 0}};
  ::setitimer(ITIMER_PROF, &limit, nullptr);
}

/// Throws where the parser broke its promise; true where it took the file.
bool run_one(std::string name, std::string file, uint64_t seconds) {
  current.name = std::move(name);
  current.file = std::move(file);
  allow_seconds(static_cast<time_t>(seconds));
  const Outcome outcome = run_parser(current.file);
  allow_seconds(0);
  if (outcome.fault.empty()) return outcome.taken;
  keep_current();
  throw std::runtime_error(outcome.fault);
}

std::vector<fs::path> files_in(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

/// Runs the files; returns them with those that were taken repeated up to as many as the others, because
/// damage to a good file gets further.
std::vector<std::string> run_corpus(const Options& options) {
  std::vector<std::string> files, taken;
  for (const fs::path& path : files_in(options.corpus)) {
    files.push_back(io::read_file(path, kMostBytes));
    if (run_one(path.string(), files.back(), options.seconds)) taken.push_back(files.back());
  }
  const size_t refused = files.size() - taken.size();
  for (size_t i = 0; !taken.empty() && files.size() < 2 * refused; ++i)
    files.push_back(taken[i % taken.size()]);
  return files;
}

void run(const Options& options) {
  current.keep = options.keep;
  watch_deaths();
  std::vector<std::string> seeds = run_corpus(options), words;
  if (!options.dictionary.empty()) words = dictionary_words(io::read_file(options.dictionary, kMostBytes));
  const Mutator mutator(std::move(seeds), std::move(words));
  uint64_t taken = 0;
  for (uint64_t i = options.first; i < options.first + options.runs; ++i)
    if (run_one(fmt::format("mutation {}", i), mutator.make(i), options.seconds)) ++taken;
  fmt::print("{} mutations, {} taken, {} refused in one line each\n", options.runs, taken,
             options.runs - taken);
}

Options parse_options(const std::vector<std::string>& arguments) {
  Options options;
  const std::map<std::string, std::function<void(const std::string&)>> flags = {
      {"--runs", [&](const std::string& value) { options.runs = std::stoull(value); }},
      {"--first", [&](const std::string& value) { options.first = std::stoull(value); }},
      {"--seconds", [&](const std::string& value) { options.seconds = std::stoull(value); }},
      {"--dictionary", [&](const std::string& value) { options.dictionary = value; }},
      {"--keep", [&](const std::string& value) { options.keep = value; }}};
  if (arguments.size() % 2 == 0) throw UsageError("arguments", "an even number", "CORPUS [--FLAG VALUE]...");
  options.corpus = arguments[0];
  for (size_t i = 1; i < arguments.size(); i += 2) {
    const auto flag = flags.find(arguments[i]);
    if (flag == flags.end())
      throw UsageError(arguments[i], "an unknown flag", "--runs, --first, --seconds, --dictionary or --keep");
    flag->second(arguments[i + 1]);
  }
  return options;
}

}  // namespace

int drive(const std::vector<std::string>& arguments) {
  try {
    run(parse_options(arguments));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

}  // namespace aleph::fuzz
